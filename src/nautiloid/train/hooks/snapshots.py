"""Model folders along the way, for example to average them afterwards with `convert merge`."""

from __future__ import annotations

from dataclasses import dataclass

from nautiloid.core.errors import InputError
from nautiloid.train.hook import Hook, HookState, hook


@hook("snapshots")
@dataclass(frozen=True, kw_only=True)
class SnapshotHook(Hook):
    """Writes `snapshots/step-N` into the run folder every `every_steps` steps."""

    every_steps: int

    def __post_init__(self) -> None:
        if self.every_steps < 1:
            raise InputError("hooks.every_steps", self.every_steps, "use at least 1")

    def on_step(self, state: HookState) -> None:
        """Write the model folder when its turn has come."""
        from nautiloid.model.checkpoint import write_checkpoint

        if state.step % self.every_steps:
            return
        write_checkpoint(
            state.run.path / "snapshots" / f"step-{state.step:08d}",
            state.model,
            tokenizer_folder=state.tokenizer_folder,
            provenance={"run": state.run.recipe.name, "step": state.step},
            card=f"# {state.run.recipe.name}, step {state.step}\n\nAn intermediate state of a training run.\n",
        )
