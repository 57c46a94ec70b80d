"""Chained sums: a few numbers joined by plus and minus, solved by running totals."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import ClassVar

from nautiloid.core.types import Message
from nautiloid.envs.environment import Environment, Task, environment

WORDINGS = ("What is {}?", "Compute {}.", "Calculate {}.", "{} = ?")


@environment("sums")
@dataclass(frozen=True, kw_only=True)
class Sums(Environment):
    """Level n joins n + 2 numbers from 1 to 15 n; no running total is negative.

    >>> env = Sums()
    >>> task = Task(id="", environment="sums", level=1, prompt=(), answer="14",
    ...             meta={"terms": [12, 7, -5]})
    >>> print(env.solve(task).reasoning)
    12+7=19
    19-5=14
    >>> env.score(task, Message("assistant", " 14 "))["reward"]
    1.0
    """

    num_levels: ClassVar[int] = 8

    def make(self, level: int, random: Random) -> Task:
        """Draw the numbers; a minus is drawn only where the total stays at least 0."""
        terms = [random.randint(1, 15 * level)]
        for _ in range(level + 1):
            term = random.randint(1, 15 * level)
            is_minus = random.random() < 0.5 and sum(terms) >= term
            terms.append(-term if is_minus else term)
        compact = f"{terms[0]}" + "".join(f"{term:+d}" for term in terms[1:])
        spaced = compact.replace("+", " + ").replace("-", " - ")
        text = random.choice(WORDINGS).format(random.choice((compact, spaced)))
        return Task(
            id=f"sums-{level}-{compact}",
            environment="sums",
            level=level,
            prompt=(Message("user", text),),
            answer=str(sum(terms)),
            meta={"terms": terms},
        )

    def solve(self, task: Task, *, thinking: bool = True) -> Message:
        """One line a term: old total, term, new total."""
        terms: list[int] = task.meta["terms"]
        totals = [sum(terms[: i + 1]) for i in range(len(terms))]
        steps = zip(pairwise(totals), terms[1:], strict=True)
        trace = "\n".join(f"{before}{term:+d}={after}" for (before, after), term in steps)
        return Message("assistant", task.answer, reasoning=trace if thinking else None)

    def score(self, task: Task, message: Message) -> dict[str, float]:
        """1 for the bare number, surrounding whitespace aside."""
        return {"reward": float(message.text.strip() == task.answer)}
