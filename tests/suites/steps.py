"""Engines whose steps run ahead of the host, against the engine that waits for every token."""

from __future__ import annotations

from dataclasses import replace

import torch

from nautiloid.core.types import Completion, SamplingParams
from nautiloid.engine.engine import Engine
from nautiloid.engine.graphs import Steps

FREE = SamplingParams(temperature=0.8, max_tokens=9, seed=7)
GREEDY = SamplingParams(temperature=0, max_tokens=9)


def run_ahead(engine: Engine) -> Engine:
    """Let an engine run its steps ahead, also on a CPU."""
    if engine.runner.steps is None:
        engine.runner.steps = Steps(engine.model, engine.pool.store, engine.runner.routes)
        engine.scheduler.compact = lambda: None  # as on a GPU, where nothing moves
    return engine


def prompts_of(count: int, vocabulary: int, seed: int = 0) -> list[list[int]]:
    """Prompts of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 40, (count,), generator=generator).tolist()
    return [torch.randint(0, vocabulary, (n,), generator=generator).tolist() for n in lengths]


def mixed_params(count: int) -> list[SamplingParams]:
    """Greedy, sampled and filtered requests with seeds of their own and different lengths."""
    kinds = [
        GREEDY,
        FREE,
        replace(FREE, top_k=5, seed=1),
        replace(FREE, top_p=0.7, seed=2),
        replace(FREE, min_p=0.2, seed=3, temperature=1.3),
    ]
    return [replace(kinds[i % len(kinds)], max_tokens=3 + i % 7) for i in range(count)]


def assert_near(
    got: list[Completion], wanted: list[Completion], atol: float, share: float = 0.7
) -> None:
    """The same ids up to a first difference, the same log probabilities until there.

    A drawn token differs where the random number falls between two tokens, so a share of the
    completions has to be the same to the end.
    """
    same = 0
    for a, b in zip(got, wanted, strict=True):
        assert a.finish_reason == b.finish_reason
        for x, y, p, q in zip(a.ids, b.ids, a.logprobs, b.logprobs, strict=False):
            if x != y:
                break
            assert abs(p - q) < atol, (p, q)
        else:
            same += 1
    assert same >= share * len(got), (same, len(got))
