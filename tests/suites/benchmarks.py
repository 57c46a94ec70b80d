"""What every benchmark must hold; called by the unit tests of each."""

from tests.suites.environments import oracle, silent

from nautiloid.core.config import from_json, to_json
from nautiloid.core.seed import Seed
from nautiloid.core.types import SamplingParams
from nautiloid.envs.environment import split_of
from nautiloid.eval.benchmark import Benchmark
from nautiloid.eval.runner import run_benchmark


def check_benchmark(benchmark: Benchmark, *, count: int = 40) -> None:
    """An oracle scores 1 and a silent policy 0, on held-out problems that the seed fixes."""
    tasks = benchmark.tasks(count, Seed(7))
    assert tasks == benchmark.tasks(count, Seed(7)) != benchmark.tasks(count, Seed(8))
    assert {split_of(task.id) for task in tasks} == {"test"}
    assert from_json(Benchmark, to_json(benchmark)) == benchmark
    for thinking in (True, False):
        policy = oracle(benchmark.environment(), tasks)
        best = run_benchmark(benchmark, policy, count=count, thinking=thinking, seed=7)
        assert best.accuracy == 1.0
        assert best.overall.interval[0] < 1.0 == best.overall.interval[1]
        worst = run_benchmark(benchmark, silent(), count=count, thinking=thinking, seed=7)
        assert worst.accuracy == 0.0
    assert best.provenance["prompt_hash"] == worst.provenance["prompt_hash"]
    other = run_benchmark(benchmark, silent(), count=count, seed=8)
    assert other.provenance["prompt_hash"] != best.provenance["prompt_hash"]
    greedy = SamplingParams(temperature=0.0, max_tokens=3)
    given = run_benchmark(benchmark, silent(), count=2, params=greedy)
    assert given.provenance["sampling"]["max_tokens"] == 3
