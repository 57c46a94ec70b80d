import asyncio
import json
import random

import pytest
from tests.suites.benchmarks import check_benchmark
from tests.suites.environments import silent

from nautiloid.core.errors import InputError
from nautiloid.core.types import Message, Turn
from nautiloid.eval.benchmark import Benchmark
from nautiloid.eval.benchmarks.sorting import SortingBenchmark
from nautiloid.eval.benchmarks.sums import SumsBenchmark
from nautiloid.eval.runner import run_benchmark
from nautiloid.eval.statistics import estimate


@pytest.mark.parametrize(
    "scored", [SumsBenchmark(), SumsBenchmark(levels=(1, 2)), SortingBenchmark()]
)
def test_suite(scored):
    check_benchmark(scored)


def test_names_find_the_classes():
    assert Benchmark.registry.names() == ["sorting", "sums"]
    assert Benchmark.registry.get("sums") is SumsBenchmark


class Half:
    """Right on level 1, cut short elsewhere; answers in whatever order it likes."""

    def __init__(self, known):
        self.known = known
        self.most = self.now = 0

    async def respond(self, messages, *, tools=(), thinking=True, params=None):
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(random.random() / 200)
        self.now -= 1
        task = self.known[tuple(messages)]
        ok = task.level == 1
        message = Message("assistant", task.answer if ok else "", reasoning="hm")
        reason = "stop" if ok else "length"
        return Turn(
            prompt_ids=(1,), ids=(1, 2), logprobs=(0, 0), message=message, finish_reason=reason
        )


def test_levels_samples_and_concurrency():
    benchmark = SumsBenchmark(levels=(1, 2))
    from nautiloid.core.seed import Seed

    policy = Half({task.prompt: task for task in benchmark.tasks(40, Seed(0))})
    result = run_benchmark(benchmark, policy, count=40, concurrency=5, facts={"engine": "none"})
    assert policy.most == 5
    assert result.accuracy == 0.5
    assert result.truncated == 0.5
    assert result.mean_tokens == 2
    assert {level: value.mean for level, value in result.levels.items()} == {1: 1.0, 2: 0.0}
    assert result.provenance["engine"] == "none"
    assert [s.score for s in result.samples[:4]] == [1, 0, 1, 0]
    data = json.loads(json.dumps(result.to_json()))
    assert data["levels"]["2"]["count"] == 20
    assert data["samples"][0]["gold"] == result.samples[0].content


def test_estimate_matches_known_values():
    value = estimate([1.0] * 50 + [0.0] * 50)
    assert value.stderr == pytest.approx(0.05)
    assert value.interval == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert estimate([0.0] * 500).interval == pytest.approx((0.0, 0.00762), abs=1e-4)


def test_no_problems_are_refused():
    with pytest.raises(InputError, match="count"):
        run_benchmark(SumsBenchmark(), silent(), count=0)


def test_unknown_levels_are_refused():
    with pytest.raises(InputError, match="levels"):
        SumsBenchmark(levels=(99,))
