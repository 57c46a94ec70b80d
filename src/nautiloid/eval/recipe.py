"""Recipe type of an evaluation: a model folder against benchmarks. Torch-free until it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nautiloid.core.config import Recipe
from nautiloid.core.errors import InputError
from nautiloid.core.files import write_json
from nautiloid.core.run import Run
from nautiloid.core.types import SamplingParams
from nautiloid.eval.benchmark import Benchmark
from nautiloid.train.recipe import TrainRecipe, model_folder


@Recipe.registry("eval.recipe")
@dataclass(frozen=True, kw_only=True)
class EvalRecipe(Recipe):
    """Scores a model folder; writes `results.json` and prints a table.

    Args:
        model: Folder with weights and tokenizer, or of a finished run.
        model_recipe: Trains the model into `training/` of the run folder where `model` is None.
        benchmarks: What it is scored on.
        count: Problems a benchmark.
        modes: Thinking modes, each scored on its own.
        sampling: Replaces the sampling of every benchmark; None keeps it.
        max_batch: Most answers generated at a time.
        dtype: Of the weights; None keeps the folder's.
    """

    model: str | None = None
    model_recipe: TrainRecipe | None = None
    benchmarks: tuple[Benchmark, ...]
    count: int = 500
    modes: tuple[Literal["on", "off"], ...] = ("on", "off")
    sampling: SamplingParams | None = None
    max_batch: int = 64
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16"] | None = None

    def __post_init__(self) -> None:
        if self.model is None and self.model_recipe is None:
            raise InputError("model", None, "name the folder of a model, or give model_recipe")
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
            "model": self.model or "trained first",
            "benchmarks": ", ".join(b.name for b in self.benchmarks),
            "problems": f"{self.count} each, thinking {' and '.join(self.modes)}",
            "most tokens generated": f"{sum(longest) * self.count * len(self.modes):,}",
        }

    def run(self, run: Run) -> None:
        """Score every benchmark in every mode."""
        if run.is_done:
            return
        folder = self._folder(run)
        if folder is None:
            return
        import torch

        from nautiloid.engine.engine import Engine
        from nautiloid.engine.policy import EnginePolicy
        from nautiloid.eval.runner import Result, run_benchmark
        from nautiloid.eval.table import print_results

        dtype = getattr(torch, self.dtype) if self.dtype else None
        engine = Engine(folder, max_batch=self.max_batch, device=self.device, dtype=dtype)
        policy = EnginePolicy(engine)
        results: list[Result] = []
        figures: dict[str, float] = {}
        for benchmark in self.benchmarks:
            for mode in self.modes:
                if run.should_stop.is_set():
                    return
                result = run_benchmark(
                    benchmark,
                    policy,
                    count=self.count,
                    thinking=mode == "on",
                    seed=run.seed,
                    params=self.sampling,
                    facts={"model": folder, **engine.facts()},
                )
                results.append(result)
                figures[f"{benchmark.name}/{mode}"] = result.accuracy
        run.metrics.write("benchmark", 0, figures)
        write_json(run.path / "results.json", [result.to_json() for result in results])
        print_results(results)
        run.finish(**figures)

    def _folder(self, run: Run) -> str | None:
        """The model folder; None when its training was interrupted."""
        if self.model is not None:
            return model_folder(self.model, "model")
        assert self.model_recipe is not None
        inner = run.nested("training", self.model_recipe)
        return str(inner.model) if inner.is_done else None
