"""Recipe type of an evaluation: a model folder against benchmarks. Torch-free until it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nautiloid.core.config import Recipe
from nautiloid.core.errors import InputError
from nautiloid.core.files import write_json
from nautiloid.core.run import Run
from nautiloid.core.types import SamplingParams
from nautiloid.eval.benchmark import Benchmark


@Recipe.registry("eval.recipe")
@dataclass(frozen=True, kw_only=True)
class EvalRecipe(Recipe):
    """Scores a model folder; writes `results.json` and prints a table.

    Args:
        model: Folder with weights and tokenizer.
        benchmarks: What it is scored on.
        count: Problems a benchmark.
        modes: Thinking modes, each scored on its own.
        sampling: Replaces the sampling of every benchmark; None keeps it.
        max_batch: Most answers generated at a time.
        dtype: Of the weights; None keeps the folder's.
    """

    model: str
    benchmarks: tuple[Benchmark, ...]
    count: int = 500
    modes: tuple[Literal["on", "off"], ...] = ("on", "off")
    sampling: SamplingParams | None = None
    max_batch: int = 64
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16"] | None = None

    def __post_init__(self) -> None:
        if not self.benchmarks:
            raise InputError("benchmarks", None, "name at least one")
        if not self.modes:
            raise InputError("modes", None, "use on, off or both")
        for name in ("count", "max_batch"):
            if getattr(self, name) < 1:
                raise InputError(name, getattr(self, name), "use at least 1")

    def summary(self) -> dict[str, str]:
        """How much is generated at most."""
        longest = [(self.sampling or b.sampling).max_tokens for b in self.benchmarks]
        return {
            "model": self.model,
            "benchmarks": ", ".join(b.name for b in self.benchmarks),
            "problems": f"{self.count} each, thinking {' and '.join(self.modes)}",
            "most tokens generated": f"{sum(longest) * self.count * len(self.modes):,}",
        }

    def run(self, run: Run) -> None:
        """Score every benchmark in every mode."""
        if run.is_done:
            return
        if not Path(self.model).is_dir():
            raise InputError("model", self.model, "no such folder; name a trained model")
        import torch

        from nautiloid.engine.engine import Engine
        from nautiloid.engine.policy import EnginePolicy
        from nautiloid.eval.runner import Result, run_benchmark
        from nautiloid.eval.table import print_results

        dtype = getattr(torch, self.dtype) if self.dtype else None
        engine = Engine(self.model, max_batch=self.max_batch, device=self.device, dtype=dtype)
        policy = EnginePolicy(engine)
        results: list[Result] = []
        for benchmark in self.benchmarks:
            for mode in self.modes:
                result = run_benchmark(
                    benchmark,
                    policy,
                    count=self.count,
                    thinking=mode == "on",
                    seed=run.seed,
                    params=self.sampling,
                    facts={"model": self.model, **engine.facts()},
                )
                results.append(result)
                run.metrics.write("benchmark", 0, {f"{benchmark.name}/{mode}": result.accuracy})
        write_json(run.path / "results.json", [result.to_json() for result in results])
        print_results(results)
        run.finish(**{key: value for result in results for key, value in _figures(result).items()})


def _figures(result: Any) -> dict[str, float]:
    mode = "on" if result.thinking else "off"
    return {f"{result.benchmark}/{mode}": result.accuracy}
