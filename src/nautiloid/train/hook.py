"""What a recipe may hang into the training loop: benchmarks, snapshots, own measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from nautiloid.core.config import Open
from nautiloid.core.registry import Registry
from nautiloid.core.run import Run

if TYPE_CHECKING:
    from nautiloid.data.tokenizer import Tokenizer
    from nautiloid.model.decoder import Decoder


@dataclass(frozen=True, kw_only=True)
class HookState:
    """What a hook sees; it reads and measures, and leaves weights and gradients alone.

    Attributes:
        run: Folder, metrics and seed of the run.
        model: The model under training, on its device.
        tokenizer: Tokenizer of the run; `tokenizer_folder` is where it lies.
        step: Optimizer steps done.
        figures: Metrics of the step that just ended.
    """

    run: Run
    model: Decoder
    tokenizer: Tokenizer
    tokenizer_folder: Path
    step: int
    num_steps: int
    figures: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Hook(Open):
    """Base of hooks. Failures end the run; the final checkpoint is written before `on_end`."""

    registry: ClassVar[Registry] = Registry("hook", "nautiloid.train.hooks")

    def on_step(self, state: HookState) -> None:
        """Called after every optimizer step; decides by `state.step` whether to act."""

    def on_end(self, state: HookState) -> None:
        """Called once, after the final checkpoint is on disk."""


hook = Hook.registry
