"""The fields that all training recipes share, and what a run starts from. Torch-free."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from nautiloid.core.config import Recipe
from nautiloid.core.errors import InputError
from nautiloid.core.run import Run
from nautiloid.data.loader import LoaderConfig
from nautiloid.data.mixing import Mixture
from nautiloid.data.source import Source
from nautiloid.model.config import ModelConfig
from nautiloid.model.folder import read_config
from nautiloid.ops.config import OpsConfig
from nautiloid.train.config import TrainerConfig
from nautiloid.train.hook import Hook

log = logging.getLogger("nautiloid.train")


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """A byte-level BPE tokenizer trained on the first documents of the run's own data.

    Args:
        vocab_size: Ids including the special tokens; small data may give fewer.
        num_documents: Samples read for the training.
        grammar: Conversation grammar of the folder.
    """

    vocab_size: int
    num_documents: int = 2000
    grammar: str = "nemotron3"


@dataclass(frozen=True, kw_only=True)
class TrainRecipe(Recipe):
    """What pretraining, SFT and distillation have in common.

    Args:
        model: Shape of a fresh model; None when `init` is given.
        init: Folder of a model (or of a finished run) to start from; any supported Hugging Face folder.
        tokenizer: Folder, or how to train one from `data`; None takes the one in `init`.
        data: What is trained on.
        eval_data: Held-out source, read from its beginning.
    """

    model: ModelConfig | None = None
    init: str | None = None
    tokenizer: str | TokenizerConfig | None = None
    data: Mixture
    eval_data: Source | None = None
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    trainer: TrainerConfig
    hooks: tuple[Hook, ...] = ()
    ops: OpsConfig = field(default_factory=OpsConfig)

    def __post_init__(self) -> None:
        if (self.model is None) == (self.init is None):
            raise InputError(
                "init", self.init, "give either init (a folder) or model (a fresh one)"
            )
        if self.tokenizer is None and not self._knows_tokenizer():
            raise InputError(
                "tokenizer", None, "a fresh model needs a tokenizer: name a folder or train one"
            )

    def _knows_tokenizer(self) -> bool:
        return self.init is not None

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one optimizer step, padding included."""
        return self.loader.batch_tokens * self.trainer.batches_per_step

    def summary(self) -> dict[str, str]:
        """Parameters, memory, token budget and steps, for `--dry-run`."""
        from nautiloid.model.costs import parameters, train_flops_per_token

        config = starting_config(self)
        sizes = parameters(config)
        total = sizes.total
        tokens = self.tokens_per_step * self.trainer.num_steps
        flops = train_flops_per_token(config, self.loader.row_tokens) * tokens
        return {
            "parameters": f"{total:,} ({sizes.active:,} active a token)",
            "pattern": config.pattern,
            "memory": self._memory(config),
            "steps": f"{self.trainer.num_steps:,} of {self.tokens_per_step:,} tokens",
            "token budget": f"{tokens:,} ({tokens / total:.1f} a parameter)",
            "compute": f"{flops:.3g} FLOP",
        }

    def _memory(self, config: ModelConfig) -> str:
        from nautiloid.model.costs import parameters, step_memory

        if self.trainer.device == "cpu":
            size = 16 * parameters(config).total / 1e9
            return f"{size:.2f} GB for weights, gradients and both moments in float32"
        predicted = step_memory(
            config,
            tokens=self.loader.batch_tokens,
            weights=self.trainer.mode,
            moments=self.trainer.optim.moments,
            memory=self.trainer.memory,
        )
        parts = ", ".join(f"{name} {size}" for name, size in predicted.facts().items())
        return f"{parts} (predicted)"


def starting_config(recipe: TrainRecipe) -> ModelConfig:
    """The shape of the model that the recipe trains; reads `init/config.json` when it names a folder."""
    if recipe.model is not None:
        return recipe.model
    assert recipe.init is not None
    return read_config(model_folder(recipe.init, "init"))


def model_folder(path: str, field: str) -> str:
    """The model folder at `path`, which may also be the folder of a finished run.

    Raises:
        InputError: There is neither.
    """
    for folder in (os.path.join(path, "model"), path):
        if os.path.isfile(os.path.join(folder, "config.json")) and not os.path.isfile(
            os.path.join(folder, "env.json")
        ):
            return folder
    if os.path.isfile(os.path.join(path, "env.json")):
        inside = sorted(str(f.parent) for f in Path(path).glob("*/model"))
        remedy = "this run has not finished: run its command again, then this one"
        raise InputError(field, path, f"name one of {', '.join(inside)}" if inside else remedy)
    raise InputError(
        field,
        path,
        "no model there: name a folder with config.json and safetensors, or train it first",
    )


def is_finished(run: Run) -> bool:
    """Whether a former call finished the run; says so."""
    if run.is_done:
        log.info("%s is finished already; the model is in %s", run.path, run.model)
    return run.is_done


def check_process() -> None:
    """Refuse what this version cannot train on.

    Raises:
        InputError: Started by torchrun with more than one process.
    """
    world_size = os.environ.get("WORLD_SIZE", "1")
    if world_size != "1":
        raise InputError(
            "WORLD_SIZE", world_size, "training runs in one process: start it without torchrun"
        )
