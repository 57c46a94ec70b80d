"""Benchmarks inside a training run."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

from nautiloid.core.errors import InputError
from nautiloid.eval.benchmark import Benchmark
from nautiloid.train.hook import Hook, HookState, hook

log = logging.getLogger("nautiloid.eval")


@hook("eval.hook")
@dataclass(frozen=True, kw_only=True)
class BenchmarkHook(Hook):
    """Scores the model under training every `every_steps` steps, and at the end.

    Args:
        every_steps: Distance of the measurements; 0 measures at the end only.
        count: Problems a benchmark.
        modes: Thinking modes, each scored on its own.
    """

    benchmarks: tuple[Benchmark, ...]
    every_steps: int = 0
    count: int = 100
    modes: tuple[Literal["on", "off"], ...] = ("on",)
    max_batch: int = 64

    def __post_init__(self) -> None:
        if self.every_steps < 0:
            raise InputError(
                "hooks.every_steps", self.every_steps, "use 0 (at the end only) or more"
            )
        if not self.benchmarks:
            raise InputError("hooks.benchmarks", None, "name at least one")

    def on_step(self, state: HookState) -> None:
        """Measure when the turn has come; the last step is left to `on_end`."""
        if self.every_steps and state.step % self.every_steps == 0 and state.step < state.num_steps:
            self._measure(state)

    def on_end(self, state: HookState) -> None:
        """Measure the final weights."""
        self._measure(state)

    def _measure(self, state: HookState) -> None:
        from nautiloid.engine.engine import Engine
        from nautiloid.engine.policy import EnginePolicy
        from nautiloid.eval.runner import run_benchmark

        engine = Engine(state.model, tokenizer=state.tokenizer, max_batch=self.max_batch)
        policy = EnginePolicy(engine)
        figures: dict[str, float] = {}
        for benchmark in self.benchmarks:
            for mode in self.modes:
                result = run_benchmark(
                    benchmark,
                    policy,
                    count=self.count,
                    thinking=mode == "on",
                    seed=state.run.seed,
                    facts=engine.facts(),
                )
                figures[f"{benchmark.name}/{mode}"] = result.accuracy
        state.run.metrics.write("benchmark", state.step, figures)
        log.info("step %d: %s", state.step, ", ".join(f"{k} {v:.1%}" for k, v in figures.items()))
