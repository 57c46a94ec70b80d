"""Pages, prefixes and preemption on a GPU: what a request gets is that of its own full forward."""

import random
from dataclasses import replace

import pytest
import torch
from tests.suites.decoding import full_logits
from tests.suites.schedules import Asked, check_empty, engine_of, play

from nautiloid.core.seed import Seed
from nautiloid.core.types import SamplingParams
from nautiloid.model.decoder import Decoder
from nautiloid.model.presets import preset

pytestmark = pytest.mark.gpu
if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

# log probabilities, and the share of tokens that must reach it: bfloat16 may choose other experts
TOLERANCE = {torch.float32: (1e-3, 1.0), torch.bfloat16: (0.2, 0.85)}
PAGE = 16
GREEDY = SamplingParams(temperature=0.0, max_tokens=8)


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16])
def model(request):
    config = replace(
        preset("debug"),
        vocab_size=352,
        hidden_size=64,
        pattern="ME*-M*",
        max_position_embeddings=512,
        initializer_range=0.15,
        mtp=None,
    )
    model = Decoder(config)
    model.init_weights(Seed(1))
    return model.to(device="cuda", dtype=request.param)


def errors_of(model, done, temperature=0.0):
    """Distance of each log probability from that of the full forward of the same tokens."""
    rows = full_logits(model, [*done.prompt_ids, *done.ids])[len(done.prompt_ids) - 1 : -1]
    rows = (rows / (temperature or 1.0)).log_softmax(-1)
    expected = rows.gather(1, torch.tensor(done.ids)[:, None])[:, 0]
    return (torch.tensor(done.logprobs) - expected).abs().tolist()


def check(model, errors):
    bound, share = TOLERANCE[model.dtype]
    assert sum(error < bound for error in errors) >= share * len(errors), sorted(errors)[-20:]


@pytest.mark.parametrize("pieces", [16, 33, 2048])
def test_warm_equals_cold(model, pieces):
    """Logprobs within 1e-3 (float32), 0.2 for 85 of 100 (bfloat16) of the full forward."""
    engine = engine_of(model, pages=200, page_tokens=PAGE, prefix_cache=True, prefill_tokens=pieces)
    draw, errors = random.Random(0), list[float]()
    sharing = engine.scheduler.sharing
    assert sharing is not None
    for length in (2, 15, 16, 17, 63, 64, 65, 200):
        prompt = [draw.randrange(352) for _ in range(length)]
        before = sharing.cache.hit_tokens
        for done in (engine.generate([prompt], GREEDY)[0] for _ in range(2)):
            errors += errors_of(model, done)
        assert sharing.cache.hit_tokens - before == length - 1
    check(model, errors)
    check_empty(engine)


@pytest.mark.parametrize("preemption", ["recompute", "swap"])
@pytest.mark.parametrize("prefix_cache", [False, True])
def test_random_schedules_in_scarce_memory(model, preemption, prefix_cache):
    """Logprobs within 1e-3 (float32), 0.2 for 85 of 100 (bfloat16) of the full forward."""
    preempted, errors = 0, list[float]()
    for seed in range(4):
        draw = random.Random(seed)
        events = []
        for _ in range(14):
            shared = draw.choice([0, 15, 16, 40])
            events.append(
                Asked(
                    family=draw.randrange(2),
                    shared=shared,
                    own=draw.randint(1, 12),
                    max_tokens=draw.randint(1, 40),
                    temperature=draw.choice([0.0, 1.0]),
                    priority=draw.choice([0, 0, 1]),
                    client=draw.choice("ab"),
                )
            )
            if draw.random() < 0.5:
                events.append(draw.randint(1, 9))
            if draw.random() < 0.2:
                events.append(draw.choice(["pause", ("abort", draw.randrange(8))]))
        engine = engine_of(
            model,
            pages=9,
            page_tokens=PAGE,
            prefill_tokens=draw.choice([17, 64, 2048]),
            preemption=preemption,
            prefix_cache=prefix_cache,
        )
        for what, done in play(engine, events):
            assert len(done.ids) == what.max_tokens
            errors += errors_of(model, done, what.temperature)
        preempted += engine.scheduler.num_preempted
    assert preempted > 0
    check(model, errors)


def test_states_in_half_precision(model):
    """Logprobs within 0.3 for 85 of 100 of the full forward: states are rounded."""
    engine = engine_of(model, pages=60, page_tokens=PAGE, ssm_dtype="float16", kv_dtype="bfloat16")
    errors = list[float]()
    for done in engine.generate([[5 * i % 352 for i in range(100)]] * 2, GREEDY):
        errors += errors_of(model, done)
    assert sum(error < 0.3 for error in errors) >= 0.85 * len(errors), errors
    check_empty(engine)
