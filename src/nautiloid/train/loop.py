"""The training loop that all recipe types share: resume, measure, save, stop."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import torch

from nautiloid.core.errors import InputError
from nautiloid.core.progress import progress
from nautiloid.core.run import Run
from nautiloid.data.batch import Batch
from nautiloid.train.balance import expert_load
from nautiloid.train.hook import Hook, HookState
from nautiloid.train.state import StateWriter, read_latest
from nautiloid.train.throughput import Profiler, measured_flops
from nautiloid.train.trainer import Launched, Trainer

log = logging.getLogger("nautiloid.train")


class BatchStream(Protocol):
    """An iterator of micro-batches with a small resumable position."""

    def __iter__(self) -> Iterator[Batch]: ...

    def state_dict(self) -> dict[str, Any]:
        """JSON-able position."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on from a position."""
        ...


@dataclass(frozen=True)
class _UnderWay:
    """A step that has been launched and not recorded yet."""

    launched: Launched
    step: int
    tokens: int
    start: float


class Loop:
    """Takes a trainer to the end of its schedule inside a run folder.

    Args:
        run: Where checkpoints, metrics and profiles go; its stop flag is obeyed after each step.
        trainer: Fresh; the newest whole checkpoint of the run is loaded into it.
        stream: Micro-batches; fresh too.
        held_out: Micro-batches of the evaluation; empty for none.
        byte_lengths: UTF-8 bytes of each token id, for bits per byte.
        flops_per_token: Training FLOPs a token, for MFU.
        hooks: Called after each step with what `hook_state` makes of step and figures.
    """

    def __init__(
        self,
        run: Run,
        trainer: Trainer,
        stream: BatchStream,
        *,
        held_out: Sequence[Batch] = (),
        byte_lengths: Sequence[int] | None = None,
        flops_per_token: float = 0.0,
        hooks: Sequence[Hook] = (),
        hook_state: Callable[[int, Mapping[str, Any]], HookState] | None = None,
    ):
        assert hook_state is not None or not hooks, "hooks need a state"
        self.run = run
        self.trainer = trainer
        self.stream = stream
        self.held_out = held_out
        self.byte_lengths = byte_lengths
        self.flops_per_token = flops_per_token
        self.hooks = hooks
        self.hook_state = hook_state
        self.writer = StateWriter(run.checkpoints, trainer.config.keep_last)
        self.saved_at = -1
        self.under_way: deque[_UnderWay] = deque()

    def fit(self) -> bool:
        """Train to the last step; False when the run was asked to stop and has saved.

        Raises:
            InputError: Training diverged, or a checkpoint could not be written.
        """
        self._resume()
        config, trainer = self.trainer.config, self.trainer
        peak_flops = config.peak_flops or measured_flops(config.device)
        profiler = Profiler(self.run, config.profile_steps, config.device)
        with (
            deterministic(config.device),
            progress(self.run.recipe.name, config.num_steps, start=trainer.steps_done) as bar,
        ):
            while not trainer.is_done:
                profiler.before_step()
                start, tokens = time.perf_counter(), trainer.tokens_done
                launched = trainer.launch(self._take())
                profiler.after_step()
                self.under_way.append(
                    _UnderWay(launched, trainer.steps_done, trainer.tokens_done - tokens, start)
                )
                self._after_launch(peak_flops, bar)
                if self.run.should_stop.is_set() and not trainer.is_done:
                    self._record_ended(peak_flops, bar, waits=True)
                    self._save()
                    self.writer.wait()
                    log.info(
                        "stopped at step %d; the same command goes on from here", trainer.steps_done
                    )
                    return False
        profiler.close()
        self.writer.wait()
        return True

    def _resume(self) -> None:
        state = read_latest(self.run.checkpoints)
        if state is not None:
            if state.counters["seed"] != self.run.seed.value:
                raise InputError(
                    "seed", self.run.seed.value, f"the checkpoint has seed {state.counters['seed']}"
                )
            self.trainer.load_state_dict(state)
            self.stream.load_state_dict(state.counters["stream"])
            self.saved_at = self.trainer.steps_done
            log.info("resumed at step %d", self.trainer.steps_done)
        self.run.metrics.truncate(self.trainer.steps_done)

    def _take(self) -> list[Batch]:
        count = self.trainer.config.batches_per_step
        batches = list(islice(self.stream, count))
        if len(batches) < count:
            raise InputError(
                "trainer.num_steps",
                self.trainer.config.num_steps,
                f"the data ends after {self.trainer.steps_done} steps; lower it or raise data.phases.parts.epochs",
            )
        return batches

    def _after_launch(self, peak_flops: float, bar: Any) -> None:
        """Record what has ended; evaluate, call hooks and save where the step asks for it.

        The host stays one step ahead of a GPU, except where something looks at the weights.
        """
        config, trainer, step = self.trainer.config, self.trainer, self.trainer.steps_done
        is_end = trainer.is_done
        is_eval = bool(self.held_out) and (
            is_end or bool(config.eval_every_steps and step % config.eval_every_steps == 0)
        )
        is_save = is_end or step % config.save_every_steps == 0
        waits = is_eval or is_save or bool(self.hooks)
        figures = self._record_ended(peak_flops, bar, waits=waits)
        if is_eval:
            measured = trainer.evaluate(self.held_out, self.byte_lengths)
            self.run.metrics.write("eval", step, measured)
            log.info(
                "step %d: held-out %s", step, "  ".join(f"{k} {v:.4f}" for k, v in measured.items())
            )
        if self.hook_state is not None:
            for hook in self.hooks:
                hook.on_step(self.hook_state(step, figures))
        self.writer.check()
        # Last, so that a run that resumes here has all lines of this step already.
        if is_save:
            self._save()
        if waits:
            trainer.pause()

    def _record_ended(self, peak_flops: float, bar: Any, *, waits: bool) -> Mapping[str, Any]:
        """Record the steps that have ended, or all; figures of the last one."""
        figures: Mapping[str, Any] = {}
        while self.under_way and (
            waits or len(self.under_way) > 1 or self.under_way[0].launched.is_ready
        ):
            figures = self._record(self.under_way.popleft(), peak_flops, bar)
        return figures

    def _record(self, ended: _UnderWay, peak_flops: float, bar: Any) -> dict[str, Any]:
        """Write the figures of a step; waits for it if need be."""
        config, step = self.trainer.config, ended.step
        result = ended.launched.result()
        step_s = result.step_s or time.perf_counter() - ended.start
        rate = ended.tokens / step_s
        figures: dict[str, Any] = {
            **result.figures,
            "tokens_per_s": round(rate, 1),
            "mfu": round(rate * self.flops_per_token / peak_flops, 4),
            "step_s": round(step_s, 5),
        }
        is_end = step >= config.num_steps
        if result.counts and (step % config.expert_load_every_steps == 0 or is_end):
            figures["expert_load"] = [expert_load(c) for c in result.counts]
        self.run.metrics.write("train", step, figures)
        if result.is_skipped or result.is_spike:
            kept = {
                name: result.figures[name]
                for name in ("loss", "grad_norm", "lr")
                if name in figures
            }
            self.run.metrics.write("spike", step, {**kept, "skipped": result.is_skipped})
        bar.advance(1, loss=result.figures.get("loss", float("nan")), tok_s=round(rate))
        return figures

    def _save(self) -> None:
        step = self.trainer.steps_done
        if step != self.saved_at:
            state = self.trainer.state_dict(
                stream=self.stream.state_dict(), seed=self.run.seed.value
            )
            self.writer.save(step, state)
            self.saved_at = step


@contextlib.contextmanager
def deterministic(device: str) -> Iterator[None]:
    """Restrict torch to reproducible algorithms on a CPU while the body runs."""
    if device != "cpu":
        yield
        return
    was_on = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_on, warn_only=warned)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
