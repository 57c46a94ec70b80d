"""Exact match on held-out chained sums."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from nautiloid.core.types import SamplingParams
from nautiloid.envs.sums import Sums
from nautiloid.eval.benchmark import Benchmark, benchmark


@benchmark("sums")
@dataclass(frozen=True, kw_only=True)
class SumsBenchmark(Benchmark):
    """Problems of some levels of `envs.sums`, answered greedily.

    Args:
        levels: Difficulties, in equal shares.
    """

    prompt_version: ClassVar[int] = 1

    levels: tuple[int, ...] = (1,)
    sampling: SamplingParams = field(default=SamplingParams(temperature=0.0, max_tokens=64))

    def __post_init__(self) -> None:
        self.environment()  # refuses unknown levels

    def environment(self) -> Sums:
        """The generator of the problems."""
        return Sums(levels=self.levels)
