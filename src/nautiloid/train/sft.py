"""Recipe type of supervised fine-tuning on conversations. Torch-free until it runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from nautiloid.core.config import Recipe
from nautiloid.core.errors import InputError
from nautiloid.core.run import Run
from nautiloid.train.modes import ModesConfig, with_modes
from nautiloid.train.recipe import TrainRecipe, is_finished


@Recipe.registry("train.sft")
@dataclass(frozen=True, kw_only=True)
class SFTRecipe(TrainRecipe):
    """Training on the assistant's turns: the grammar of the tokenizer marks them.

    Args:
        modes: Shares of samples that lose their reasoning or a part of it.
    """

    modes: ModesConfig = field(default_factory=ModesConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loader.boundary != "document":
            raise InputError(
                "loader.boundary",
                self.loader.boundary,
                "use document: conversations must not see each other",
            )

    def run(self, run: Run) -> None:
        """Train, then write the model folder."""
        if is_finished(run):
            return
        from nautiloid.train.losses import LanguageModelLoss
        from nautiloid.train.session import Session

        session = Session(run, replace(self, data=with_modes(self.data, self.modes, self.seed)))
        session.train(LanguageModelLoss(self.trainer.loss, session.byte_lengths))
