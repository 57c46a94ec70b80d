"""Number sorting: a list into ascending order, solved by repeated selection of the smallest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from nautiloid.core.types import Message
from nautiloid.envs.environment import Environment, Task, environment

WORDINGS = ("Sort {}", "Sort these numbers: {}", "Put in order: {}", "Sort ascending: {}")
ANSWER = re.compile(r"[0-9]+(?:(?:\s*,\s*|\s+)[0-9]+)*")


@environment("sorting")
@dataclass(frozen=True, kw_only=True)
class Sorting(Environment):
    """Level n sorts 2 n + 2 distinct numbers, below 100 up to level 2 and below 1000 above.

    >>> env = Sorting()
    >>> task = Task(id="", environment="sorting", level=1, prompt=(), answer="3 17 45",
    ...             meta={"numbers": [45, 3, 17]})
    >>> print(env.solve(task).reasoning)
    3: 45 17
    17: 45
    45:
    >>> env.score(task, Message("assistant", "3, 17,45"))["reward"]
    1.0
    """

    num_levels: ClassVar[int] = 8

    def make(self, level: int, random: Random) -> Task:
        """Draw the numbers."""
        numbers = random.sample(range(100 if level <= 2 else 1000), 2 * level + 2)
        listed = random.choice((" ", ", ")).join(map(str, numbers))
        return Task(
            id=f"sorting-{level}-{'-'.join(map(str, numbers))}",
            environment="sorting",
            level=level,
            prompt=(Message("user", random.choice(WORDINGS).format(listed)),),
            answer=" ".join(map(str, sorted(numbers))),
            meta={"numbers": numbers},
        )

    def solve(self, task: Task, *, thinking: bool = True) -> Message:
        """One line a step: the smallest number, then those that remain in their order."""
        rest: list[int] = list(task.meta["numbers"])
        lines: list[str] = []
        while rest:
            smallest = min(rest)
            rest.remove(smallest)
            lines.append(f"{smallest}: {' '.join(map(str, rest))}".rstrip())
        return Message("assistant", task.answer, reasoning="\n".join(lines) if thinking else None)

    def score(self, task: Task, message: Message) -> dict[str, float]:
        """1 for the right numbers in the right order, set apart by whitespace or single commas."""
        text = message.text.strip()
        is_list = ANSWER.fullmatch(text) is not None
        return {"reward": float(is_list and re.split(r"[\s,]+", text) == task.answer.split())}
