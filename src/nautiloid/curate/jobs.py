"""What a worker process can be asked to do; each job leaves a whole folder or file behind."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nautiloid.core.run import read_recipe
from nautiloid.curate.decide import decide
from nautiloid.curate.finish import finish_unit
from nautiloid.curate.flow import Flow, Step, stage_step
from nautiloid.curate.heartbeat import Heartbeat, Phase
from nautiloid.curate.inputs import read_units
from nautiloid.curate.shards import write_shard
from nautiloid.curate.unit_work import work_unit

if TYPE_CHECKING:
    from nautiloid.curate.recipe import CurateRecipe
    from nautiloid.data.tokenizer import Tokenizer


class Jobs:
    """The recipe of a run folder, ready to work.

    Args:
        folder: The run folder.
        heartbeat: Told what is being done.
        stack: Holds open what stages load, until the process ends.
    """

    def __init__(self, folder: Path, heartbeat: Heartbeat, stack: ExitStack):
        self.folder = folder
        self.heartbeat = heartbeat
        self.recipe = cast("CurateRecipe", read_recipe(folder / "config.json"))
        self.units = read_units(folder)
        self._stack = stack
        self._tools: dict[str, list[Any]] = {}
        self._tokenizer: Tokenizer | None = None
        self._flow: Flow | None = None

    def do(self, job: dict[str, Any]) -> dict[str, Any]:
        """Do one job and return what progress bars and plans need to know of it."""
        match job["job"]:
            case "unit":
                return work_unit(self, job)
            case "dedup":
                return decide(self, job)
            case "finish":
                return finish_unit(self, job)
            case "shard":
                return write_shard(self, job)
            case other:
                raise AssertionError(other)

    def flow(self, flow: Flow) -> Flow:
        """The flow itself, which `interrupt` now reaches."""
        self._flow = flow
        return flow

    def interrupt(self) -> None:
        """Give the page in work up if it is late; may be called between any two bytecodes."""
        if self._flow is not None:
            self._flow.interrupt()

    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer that counts tokens; None where the recipe names none."""
        folder = self.recipe.shards.tokenizer
        if self._tokenizer is None and folder is not None:
            from nautiloid.data.tokenizer import Tokenizer

            self.heartbeat.enter(Phase.LOAD)
            self._tokenizer = Tokenizer.load(folder)
        return self._tokenizer

    def steps(self, kind: str) -> list[Step]:
        """Fresh steps of the stages (`stage`) or of the stages behind deduplication (`finish`)."""
        stages = self.recipe.stages if kind == "stage" else self.recipe.finish
        names = self.recipe.names(kind)
        if kind not in self._tools:
            self.heartbeat.enter(Phase.LOAD)
            self._tools[kind] = [self._stack.enter_context(stage.open()) for stage in stages]
        made = zip(stages, names, self._tools[kind], strict=True)
        return [stage_step(stage, name, kind, tools) for stage, name, tools in made]
