"""Pages, prefixes and preemption on a GPU: what a request gets is that of its own full forward."""

import random
from dataclasses import replace

import pytest
import torch
from tests.suites.schedules import Asked, check_empty, check_logprobs, engine_of, play

from nautiloid.core.seed import Seed
from nautiloid.core.types import SamplingParams
from nautiloid.model.decoder import Decoder
from nautiloid.model.presets import preset

pytestmark = pytest.mark.gpu
if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

# log probabilities and ties; float32 products of the kernels run through TF32
TOLERANCE = {torch.float32: 5e-3, torch.bfloat16: 0.2}
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


def check(model, done, temperature=0.0):
    bound = TOLERANCE[model.dtype]
    check_logprobs(model, done, temperature, bound=bound, tie=bound)


@pytest.mark.parametrize("pieces", [16, 33, 2048])
def test_warm_equals_cold(model, pieces):
    """Near-tie rule, tie and logprobs within 5e-3 (float32) and 0.2 (bfloat16)."""
    engine = engine_of(model, pages=200, page_tokens=PAGE, prefix_cache=True, prefill_tokens=pieces)
    draw = random.Random(0)
    for length in (2, 15, 16, 17, 63, 64, 65, 200):
        prompt = [draw.randrange(352) for _ in range(length)]
        before = engine.scheduler.sharing.cache.hit_tokens
        for done in (engine.generate([prompt], GREEDY)[0] for _ in range(2)):
            check(model, done)
        assert engine.scheduler.sharing.cache.hit_tokens - before == length - 1
    check_empty(engine)


@pytest.mark.parametrize("preemption", ["recompute", "swap"])
@pytest.mark.parametrize("prefix_cache", [False, True])
def test_random_schedules_in_scarce_memory(model, preemption, prefix_cache):
    """Near-tie rule, tie and logprobs within 5e-3 (float32) and 0.2 (bfloat16)."""
    preempted = 0
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
            check(model, done, what.temperature)
        preempted += engine.scheduler.num_preempted
    assert preempted > 0


def test_states_in_half_precision(model):
    """Logprobs of the first tokens within 0.2 of the full forward: states are rounded."""
    engine = engine_of(model, pages=60, page_tokens=PAGE, ssm_dtype="float16", kv_dtype="bfloat16")
    for done in engine.generate([[5 * i % 352 for i in range(100)]] * 2, GREEDY):
        check_logprobs(model, done, bound=0.3, tie=0.3)
    check_empty(engine)
