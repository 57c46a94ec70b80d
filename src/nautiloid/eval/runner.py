"""Runs a benchmark over a policy and keeps every answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from nautiloid.core.config import to_json
from nautiloid.core.errors import InputError
from nautiloid.core.progress import Bar, progress
from nautiloid.core.seed import Seed
from nautiloid.core.types import Policy, Rollout, SamplingParams
from nautiloid.envs.environment import Task
from nautiloid.eval.benchmark import Benchmark, prompt_hash
from nautiloid.eval.statistics import Estimate, estimate


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One problem and what came of it."""

    task_id: str
    level: int
    prompt: str
    gold: str
    reasoning: str | None
    content: str
    score: float
    status: str
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Result:
    """Score of one benchmark in one thinking mode.

    Args:
        levels: The same estimate by level.
        mean_tokens: Generated tokens an answer.
        truncated: Share of answers that ran into a limit.
        provenance: All that the score depends on: prompts, grammar, engine, sampling, seed.
    """

    benchmark: str
    thinking: bool
    overall: Estimate
    levels: Mapping[int, Estimate]
    mean_tokens: float
    truncated: float
    samples: tuple[Answer, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Mean score."""
        return self.overall.mean

    @property
    def stderr(self) -> float:
        """Standard error of the mean."""
        return self.overall.stderr

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {
            **asdict(self),
            "accuracy": self.accuracy,
            "stderr": self.stderr,
            "levels": {str(level): asdict(value) for level, value in self.levels.items()},
        }


def run_benchmark(
    benchmark: Benchmark,
    policy: Policy,
    *,
    count: int,
    thinking: bool = True,
    seed: Seed | int = 0,
    params: SamplingParams | None = None,
    concurrency: int = 256,
    facts: Mapping[str, Any] | None = None,
) -> Result:
    """Score a policy on `count` held-out problems.

    Args:
        params: Replaces the benchmark's sampling.
        concurrency: Most episodes at a time.
        facts: What the policy knows of itself (engine, grammar, weights), for the provenance.
    """
    work = evaluate(
        benchmark,
        policy,
        count=count,
        thinking=thinking,
        seed=seed if isinstance(seed, Seed) else Seed(seed),
        params=params,
        concurrency=concurrency,
        facts=facts or {},
    )
    return asyncio.run(work)


async def evaluate(
    benchmark: Benchmark,
    policy: Policy,
    *,
    count: int,
    thinking: bool,
    seed: Seed,
    params: SamplingParams | None,
    concurrency: int,
    facts: Mapping[str, Any],
) -> Result:
    """What `run_benchmark` does, for callers inside an event loop."""
    if count < 1:
        raise InputError("count", count, "use at least 1")
    environment = benchmark.environment()
    tasks = benchmark.tasks(count, seed)
    sampling = params or benchmark.sampling
    gate = asyncio.Semaphore(concurrency)

    async def attempt(index: int, task: Task, bar: Bar) -> Rollout:
        # a seed a task, so that a sampled score does not depend on which tasks ran beside it
        own = sampling
        if own.seed is None:
            own = replace(own, seed=seed.child("sampling", index).value)
        async with gate:
            rollout = await environment.episode(task, policy, thinking=thinking, params=own)
        bar.advance()
        return rollout

    label = f"{benchmark.name}, thinking {'on' if thinking else 'off'}"
    with progress(label, len(tasks)) as bar:
        work = (attempt(index, task, bar) for index, task in enumerate(tasks))
        rollouts = await asyncio.gather(*work)
    scores = [benchmark.metric(rollout) for rollout in rollouts]
    answers = tuple(map(_answer, tasks, rollouts, scores))
    return Result(
        benchmark=benchmark.name,
        thinking=thinking,
        overall=estimate(scores),
        levels=_by_level(tasks, scores),
        mean_tokens=sum(answer.tokens for answer in answers) / len(answers),
        truncated=sum(answer.status == "truncated" for answer in answers) / len(answers),
        samples=answers,
        provenance={
            "benchmark": to_json(benchmark),
            "prompt_version": benchmark.prompt_version,
            "prompt_hash": prompt_hash(tasks),
            "sampling": to_json(sampling),
            "seed": seed.value,
            "policy": type(policy).__name__,
            **facts,
        },
    )


def _by_level(tasks: Sequence[Task], scores: Sequence[float]) -> dict[int, Estimate]:
    groups: dict[int, list[float]] = {}
    for task, score in zip(tasks, scores, strict=True):
        groups.setdefault(task.level, []).append(score)
    return {level: estimate(groups[level]) for level in sorted(groups)}


def _answer(task: Task, rollout: Rollout, score: float) -> Answer:
    message = rollout.turns[-1].message
    return Answer(
        task_id=task.id,
        level=task.level,
        prompt=task.prompt[-1].text,
        gold=task.answer,
        reasoning=message.reasoning,
        content=message.text,
        score=score,
        status=rollout.status,
        tokens=sum(len(turn.ids) for turn in rollout.turns),
    )
