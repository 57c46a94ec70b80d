"""Drafts on a GPU: the same completions as without, recorded and one operation at a time."""

from dataclasses import replace

import pytest
import torch
from tests.suites.drafts import drafting
from tests.suites.steps import prompts_of

from nautiloid.core.types import SamplingParams
from nautiloid.engine.engine import Engine
from nautiloid.engine.speculation import Speculation
from nautiloid.model.presets import preset

pytestmark = pytest.mark.gpu
if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

VOCABULARY = 352
GREEDY = SamplingParams(temperature=0.0, max_tokens=24)
TIES = {torch.float32: 1e-3, torch.bfloat16: 0.1}


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16])
def model(request):
    config = replace(
        preset("debug"),
        vocab_size=VOCABULARY,
        hidden_size=64,
        pattern="ME*-M*",
        max_position_embeddings=512,
    )
    return drafting(config).to(device="cuda", dtype=request.param)


def engine_of(model, speculation, **options):
    options = {"max_batch": 8, "memory_bytes": 64 << 20, **options}
    return Engine(model, stop_ids=(), page_tokens=16, speculation=speculation, **options)


def check(engine, done):
    """Log probabilities are those that the same engine gives to the whole text.

    In bfloat16 a router may choose another expert in either of them, so a few may be further off.
    """
    scored = engine.score([[*done.prompt_ids, *done.ids]])[0][len(done.prompt_ids) - 1 :]
    errors = (torch.tensor(scored) - torch.tensor(done.logprobs)).abs()
    tie = TIES[engine.model.dtype]
    assert errors.quantile(0.8) < tie, errors
    if engine.model.dtype == torch.float32:
        assert errors.max() < tie, errors


def is_recorded(engine):
    steps = engine.loop.speculator.steps.values()
    return len(steps) > 0 and all(step.graph is not None for step in steps)


@pytest.mark.parametrize("kind", ["mtp", "ngram"])
@pytest.mark.parametrize("num_tokens", [1, 3, 5])
def test_greedy_equals_plain_decoding(model, kind, num_tokens):
    asked = [*prompts_of(9, VOCABULARY), [50, 60, 70] * 9]
    speculation = Speculation(kind=kind, num_tokens=num_tokens, ngram_tokens=(1, 3))
    engine = engine_of(model, speculation)
    wanted = engine_of(model, None).generate(asked, GREEDY)
    got = engine.generate(asked, GREEDY)
    same = 0
    for a, b in zip(got, wanted, strict=True):
        check(engine, a)
        same += a.ids == b.ids
        for x, y, p, q in zip(a.ids, b.ids, a.logprobs, b.logprobs, strict=True):
            if x != y:
                assert abs(p - q) < 5 * TIES[model.dtype]
                break
    if model.dtype == torch.float32:
        assert same >= len(asked) // 2
    assert kind == "ngram" or is_recorded(engine)
    counts = engine.draft_counts
    assert counts is not None
    assert sum(counts.accepted) > 0
    assert len(engine.pool.free_slots) == engine.pool.num_slots


@pytest.mark.parametrize("kind", ["mtp", "ngram"])
def test_sampled_and_filtered_requests(model, kind):
    speculation = Speculation(kind=kind, num_tokens=3, ngram_tokens=(1, 3))
    engine = engine_of(model, speculation, prefix_cache=True)
    plain = SamplingParams(max_tokens=24, seed=3)
    for params in (plain, replace(plain, top_p=0.9, temperature=0.8), replace(plain, top_k=5)):
        asked = [*prompts_of(9, VOCABULARY), [50, 60, 70] * 9]
        done = engine.generate(asked, params)
        assert all(len(one.ids) == 24 for one in done)
        if params is plain:
            for one in done:
                check(engine, one)
    assert kind == "ngram" or is_recorded(engine)


def test_drafts_follow_the_distribution(model):
    """The first two drafted tokens against plain sampling of the same engine."""
    if model.dtype != torch.float32:
        pytest.skip("one dtype is enough")
    params = SamplingParams(max_tokens=4, n=1000, top_k=3, seed=5)
    counted = []
    for speculation in (None, Speculation(kind="mtp", num_tokens=2)):
        engine = engine_of(model, speculation, max_batch=64)
        done = engine.generate([[50, 60]], params)
        index = torch.tensor([one.ids[1] * VOCABULARY + one.ids[2] for one in done])
        counted.append(torch.bincount(index, minlength=VOCABULARY**2).double())
    a, b = counted
    likely = (a + b) >= 20
    score = ((a - b)[likely] ** 2 / (a + b)[likely]).sum().item()
    freedom = int(likely.sum())
    assert score < freedom + 4.5 * (2 * freedom) ** 0.5
