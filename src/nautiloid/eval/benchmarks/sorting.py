"""Exact match on held-out number sorting."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from nautiloid.core.types import SamplingParams
from nautiloid.envs.sorting import Sorting
from nautiloid.eval.benchmark import Benchmark, benchmark


@benchmark("sorting")
@dataclass(frozen=True, kw_only=True)
class SortingBenchmark(Benchmark):
    """Problems of some levels of `envs.sorting`, answered greedily.

    Args:
        levels: Difficulties, in equal shares.
    """

    prompt_version: ClassVar[int] = 1

    levels: tuple[int, ...] = (1,)
    sampling: SamplingParams = field(default=SamplingParams(temperature=0.0, max_tokens=160))

    def __post_init__(self) -> None:
        self.environment()  # refuses unknown levels

    def environment(self) -> Sorting:
        """The generator of the problems."""
        return Sorting(levels=self.levels)
