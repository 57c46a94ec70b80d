"""Tasks with verifiable answers: the protocol that training, RL and benchmarks share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar, Literal

from nautiloid.core.config import Open
from nautiloid.core.errors import InputError
from nautiloid.core.registry import Registry
from nautiloid.core.seed import Seed
from nautiloid.core.types import MediaPart, Message, Policy, Rollout, SamplingParams

Split = Literal["train", "test"]


class Environments(Registry):
    """The registry of environments; this file is not one of them."""

    def names(self) -> list[str]:
        """Names of the shipped environments, sorted."""
        return [name for name in super().names() if name != "environment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One problem, frozen; how to solve and score it stays with its environment.

    Args:
        id: Names the problem itself, so that equal problems have equal ids.
        environment: Registered name of the environment.
        level: Difficulty, 1 is the easiest.
        prompt: The conversation that poses the problem.
        answer: The one right answer in canonical form.
        meta: Facts that `solve` needs, JSON values only.
    """

    id: str
    environment: str
    level: int
    prompt: tuple[Message, ...]
    answer: str
    media: tuple[MediaPart, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])


def split_of(task_id: str) -> Split:
    """Which split a problem belongs to for ever: one in eight is held out, by a hash of its id.

    >>> split_of("sums-1-3+4+5") == split_of("sums-1-3+4+5")
    True
    """
    digest = hashlib.blake2b(task_id.encode(), digest_size=4).digest()
    return "test" if int.from_bytes(digest, "little") % 8 == 0 else "train"


@dataclass(frozen=True, kw_only=True)
class Environment(Open):
    """A family of problems; subclasses are frozen settings plus `make`, `solve` and `score`.

    Args:
        levels: Difficulties to draw from, in turn.
    """

    registry: ClassVar[Registry] = Environments("environment", "nautiloid.envs")
    num_levels: ClassVar[int]

    levels: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        for level in self.levels:
            if not 1 <= level <= self.num_levels:
                raise InputError("levels", level, f"use 1 to {self.num_levels}")
        if not self.levels:
            raise InputError("levels", None, "name at least one")

    def make(self, level: int, random: Random) -> Task:
        """Draw one problem of a level, whichever split it falls into."""
        raise TypeError(f"{type(self).__name__} does not define make")

    def solve(self, task: Task, *, thinking: bool = True) -> Message:
        """The gold turn: the answer, with its reasoning trace when `thinking`."""
        raise TypeError(f"{type(self).__name__} does not define solve")

    def score(self, task: Task, message: Message) -> dict[str, float]:
        """Rewards by name; `reward` is the one that counts. Reads the content, never the reasoning."""
        raise TypeError(f"{type(self).__name__} does not define score")

    def tasks(self, split: Split, count: int, seed: Seed) -> list[Task]:
        """Draw `count` problems of a split, levels in turn; a longer draw starts with the shorter one.

        Problems of the test split are distinct; the train split may repeat a problem.

        Raises:
            InputError: The test split has fewer problems than asked for.
        """
        random = seed.child("tasks", split).random()
        drawn: list[Task] = []
        seen: set[str] = set()
        for index in range(count):
            level = self.levels[index % len(self.levels)]
            for _ in range(2_000):
                task = self.make(level, random)
                if split_of(task.id) == split and not (split == "test" and task.id in seen):
                    break
            else:
                raise InputError(
                    "count", count, f"level {level} has about {len(seen)} test problems"
                )
            seen.add(task.id)
            drawn.append(task)
        return drawn

    def validate(self, task: Task) -> None:
        """Prove that the gold answer of a task scores 1 and an empty one 0.

        Raises:
            InputError: The task does not hold what it promises.
        """
        for thinking in (True, False):
            gold = self.score(task, self.solve(task, thinking=thinking))["reward"]
            if gold != 1.0:
                raise InputError(f"task {task.id}", gold, "its gold answer must score 1")
        empty = self.score(task, Message("assistant", ""))["reward"]
        if empty != 0.0:
            raise InputError(f"task {task.id}", empty, "an empty answer must score 0")

    async def episode(
        self,
        task: Task,
        policy: Policy,
        *,
        thinking: bool = True,
        params: SamplingParams | None = None,
    ) -> Rollout:
        """One attempt: a single turn, scored."""
        turn = await policy.respond(task.prompt, thinking=thinking, params=params)
        return Rollout(
            task_id=task.id,
            environment=task.environment,
            turns=(turn,),
            rewards=self.score(task, turn.message),
            status="done" if turn.finish_reason == "stop" else "truncated",
            meta={"level": task.level},
        )


environment = Environment.registry
