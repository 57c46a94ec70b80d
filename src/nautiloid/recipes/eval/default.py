"""A model on 500 held-out chained sums and 500 number sortings, thinking on and off.

    nautiloid eval runs/sft-debug                          # a folder or a finished run
    nautiloid eval eval/default --model runs/sft-debug     # the same, and every field is a flag
    nautiloid eval eval/default --preset debug             # trains for a few steps first, seconds

The last command shows that everything runs; its model has learned nothing, so expect 0 %.
"""

from __future__ import annotations

from nautiloid.eval.benchmarks.sorting import SortingBenchmark
from nautiloid.eval.benchmarks.sums import SumsBenchmark
from nautiloid.eval.recipe import EvalRecipe
from nautiloid.recipes.sft import debug as training


def recipe() -> EvalRecipe:
    return EvalRecipe(
        name="eval",
        model="runs/sft-debug",
        benchmarks=(SumsBenchmark(), SortingBenchmark()),
    )


def debug() -> EvalRecipe:
    return EvalRecipe(
        name="eval-tiny",
        model_recipe=training.debug(),
        benchmarks=(SumsBenchmark(), SortingBenchmark()),
        count=8,
    )
