"""A benchmark: an environment, how it is sampled and how its rollouts become a score."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from nautiloid.core.config import Open
from nautiloid.core.registry import Registry
from nautiloid.core.seed import Seed
from nautiloid.core.types import Rollout, SamplingParams
from nautiloid.envs.environment import Environment, Task


@dataclass(frozen=True, kw_only=True)
class Benchmark(Open):
    """Base of benchmarks; subclasses live in `eval/benchmarks/<name>.py`.

    Attributes:
        prompt_version: Raised whenever prompts or scoring change, so that scores stay comparable.
        published: Scores by model name, with their source, where anybody published some.

    Args:
        sampling: How answers are drawn.
    """

    registry: ClassVar[Registry] = Registry("benchmark", "nautiloid.eval.benchmarks")
    prompt_version: ClassVar[int]
    published: ClassVar[dict[str, tuple[float, str]]] = {}

    sampling: SamplingParams

    @property
    def name(self) -> str:
        """The registered name."""
        return getattr(type(self), "__kind__", type(self).__name__)

    def environment(self) -> Environment:
        """Where the problems come from."""
        raise TypeError(f"{type(self).__name__} does not define environment")

    def tasks(self, count: int, seed: Seed) -> list[Task]:
        """Held-out problems."""
        return self.environment().tasks("test", count, seed.child("benchmark", self.name))

    def metric(self, rollout: Rollout) -> float:
        """Score of one rollout, from 0 to 1."""
        return rollout.reward


benchmark = Benchmark.registry


def prompt_hash(tasks: Sequence[Task]) -> str:
    """Digest of what the model is asked and what counts as right, in order.

    >>> prompt_hash([])
    '4f53cda18c2baa0c'
    """
    posed = [
        [[(m.role, m.text, m.reasoning) for m in task.prompt], task.answer, task.environment]
        for task in tasks
    ]
    return hashlib.sha256(json.dumps(posed).encode()).hexdigest()[:16]
