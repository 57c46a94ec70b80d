"""Recipe type of pretraining: documents in, a model out. Torch-free until it runs."""

from __future__ import annotations

from dataclasses import dataclass

from nautiloid.core.config import Recipe
from nautiloid.core.run import Run
from nautiloid.train.recipe import TrainRecipe, is_finished


@Recipe.registry("train.pretrain")
@dataclass(frozen=True, kw_only=True)
class PretrainRecipe(TrainRecipe):
    """Next-token training of a fresh model, or continued training of the one in `init`."""

    def run(self, run: Run) -> None:
        """Train, then write the model folder."""
        if is_finished(run):
            return
        from nautiloid.train.losses import LanguageModelLoss
        from nautiloid.train.session import Session

        session = Session(run, self)
        session.train(LanguageModelLoss(self.trainer.loss, session.byte_lengths))
