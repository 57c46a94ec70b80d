"""Gold conversations of an environment: its tasks and the turns of its `solve`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.core.types import Sample, ThinkingMode
from nautiloid.data.source import Source, source
from nautiloid.envs.environment import Environment

MODES: tuple[ThinkingMode, ...] = ("on", "off", "budget")


@source("environment")
@dataclass(frozen=True, kw_only=True)
class EnvironmentSource(Source):
    """Solved tasks as conversations, with reasoning on, off or cut at a budget.

    Args:
        environment: Where tasks and solutions come from.
        count: Number of tasks.
        seed: Decides the tasks, their modes and their budgets.
        split: Which tasks; benchmarks use `test`.
        modes: Weight of each thinking mode.
        budget_tokens: Smallest and largest budget of the mode `budget`; drawn evenly.
    """

    environment: Environment
    count: int = 1000
    seed: int = 0
    split: Literal["train", "test"] = "train"
    modes: Mapping[str, float] = field(default_factory=lambda: {"on": 1.0, "off": 1.0})
    budget_tokens: tuple[int, int] = (8, 64)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError("source.count", self.count, "use at least 1")
        for name, weight in self.modes.items():
            if name not in MODES:
                raise InputError("source.modes", name, f"use {', '.join(MODES)}")
            if not (math.isfinite(weight) and weight >= 0):
                raise InputError(f"source.modes.{name}", weight, "use a number from 0")
        if not sum(self.modes.values()) > 0:
            raise InputError(
                "source.modes", dict(self.modes), "give at least one mode a weight above 0"
            )
        low, high = self.budget_tokens
        if not 0 <= low <= high:
            raise InputError(
                "source.budget_tokens", self.budget_tokens, "use two rising numbers from 0"
            )

    def read(self, start: int = 0) -> Iterator[Sample]:
        """One sample a task."""
        seed = Seed(self.seed)
        names: list[ThinkingMode] = [m for m in MODES if self.modes.get(m, 0) > 0]
        bounds = list(accumulate(self.modes[m] for m in names))
        tasks = self.environment.tasks(self.split, self.count, seed)
        for index, task in enumerate(tasks[start:], start):
            random = seed.child("mode", index).random()
            mode = random.choices(names, cum_weights=bounds)[0]
            answer = self.environment.solve(task, thinking=mode != "off")
            yield Sample(
                id=f"{task.id}:{index}",
                source=self.kind,
                messages=(*task.prompt, answer),
                mode=mode,
                budget_tokens=random.randint(*self.budget_tokens) if mode == "budget" else None,
                licence=self.licence,
                meta={"environment": task.environment, "level": task.level},
            )
