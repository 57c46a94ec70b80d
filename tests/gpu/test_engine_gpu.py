"""The engine on a GPU: CUDA graphs, steps ahead of the host, against the engine on a CPU."""

from dataclasses import replace

import pytest
import torch
from tests.suites.steps import FREE, GREEDY, assert_near, mixed_params, prompts_of

from nautiloid.core.seed import Seed
from nautiloid.engine.engine import Engine
from nautiloid.model.decoder import Decoder
from nautiloid.model.presets import preset

pytestmark = pytest.mark.gpu
if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

# of log probabilities, and the share of completions that are the same to the end: in bfloat16 a
# rounding may send a token to another expert
RULE = {torch.float32: (1e-3, 0.7), torch.bfloat16: (1.0, 0.3)}
VOCABULARY = 352


def model_of(dtype, device="cuda"):
    config = replace(
        preset("debug"),
        vocab_size=VOCABULARY,
        hidden_size=64,
        pattern="ME*-M*",
        max_position_embeddings=512,
        initializer_range=0.15,
        mtp=None,
    )
    model = Decoder(config)
    model.init_weights(Seed(1))
    return model.to(device=device, dtype=dtype)


def engine_of(model, **options):
    options = {"max_batch": 8, "memory_bytes": 512 << 20, **options}
    return Engine(model, stop_ids=(), page_tokens=16, **options)


def is_recorded(engine):
    steps = engine.runner.steps
    assert steps is not None
    assert steps.obstacle is None
    return all(step.graph is not None for step in steps.steps.values())


def is_empty(engine):
    pool = engine.pool
    return not engine.requests and len(pool.free_slots) == pool.num_slots


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16])
def model(request):
    return model_of(request.param)


def test_the_gpu_gives_what_the_cpu_gives(model):
    prompts, params = prompts_of(21, VOCABULARY), mixed_params(21)
    wanted = engine_of(model_of(torch.float32, "cpu")).generate(prompts, params)
    engine = engine_of(model, prefill_tokens=64)
    got = engine.generate(prompts, params)
    assert is_recorded(engine)
    assert_near(got, wanted, *RULE[model.dtype])
    assert is_empty(engine)


def test_a_batch_of_one_and_a_padded_batch_draw_the_same(model):
    prompts, params = prompts_of(5, VOCABULARY, seed=2), mixed_params(5)
    alone = [
        engine_of(model).generate([prompt], [setting])[0]
        for prompt, setting in zip(prompts, params, strict=True)
    ]
    assert_near(engine_of(model).generate(prompts, params), alone, *RULE[model.dtype])


def test_a_run_repeats(model):
    prompts, params = prompts_of(11, VOCABULARY, seed=3), mixed_params(11)
    engine = engine_of(model)
    first = engine.generate(prompts, params)
    assert [c.ids for c in engine.generate(prompts, params)] == [c.ids for c in first]


def test_scarce_memory_and_pauses_change_nothing(model):
    prompts = prompts_of(9, VOCABULARY, seed=4)
    params = replace(FREE, max_tokens=40)
    wanted = engine_of(model).generate(prompts, params)
    tight = engine_of(model, memory_bytes=None, max_batch=3, prefill_tokens=32)
    ids = [tight.submit(prompt, params) for prompt in prompts]
    done = {}
    for turn in range(1000):
        done |= tight.step()
        if turn in (5, 17):
            tight.pause()
            tight.resume()
        if len(done) == len(prompts):
            break
    assert_near([done[i] for i in ids], wanted, *RULE[model.dtype])
    assert is_empty(tight)


def test_aborts_free_their_places(model):
    engine = engine_of(model)
    prompts = prompts_of(8, VOCABULARY, seed=5)
    wanted = engine.generate(prompts[:2], GREEDY)
    ids = [engine.submit(prompt, replace(GREEDY, max_tokens=50)) for prompt in prompts]
    for _ in range(4):
        engine.step()
    for request_id in ids:
        engine.abort(request_id)
    engine.step()
    assert is_empty(engine)
    assert [c.ids for c in engine.generate(prompts[:2], GREEDY)] == [c.ids for c in wanted]


def test_a_row_that_is_not_finite_ends_alone(model):
    engine = engine_of(model)
    prompts = prompts_of(4, VOCABULARY, seed=6)
    params = replace(GREEDY, max_tokens=20)
    wanted = engine.generate(prompts, params)
    ids = [engine.submit(prompt, params) for prompt in prompts]
    for _ in range(3):
        engine.step()
    lease = engine.requests[ids[1]].lease
    assert lease is not None
    for group in engine.pool.store.slots.values():
        group["ssm"][lease.slot] = float("nan")
    done = {}
    while len(done) < 4:
        done |= engine.step()
    assert done[ids[1]].finish_reason == "error"
    others = [done[ids[i]] for i in (0, 2, 3)]
    assert [c.ids for c in others] == [wanted[i].ids for i in (0, 2, 3)]
    assert [c.ids for c in engine.generate(prompts, params)] == [c.ids for c in wanted]
    assert is_empty(engine)


def test_steps_ahead_wait_for_nothing(model):
    engine = engine_of(model)
    for prompt in prompts_of(4, VOCABULARY, seed=7):
        engine.submit(prompt, replace(FREE, max_tokens=60))
    for _ in range(5):
        engine.step()
    # reading results waits for an event, which this mode does not see
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(20):
            engine.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_forced_experts_run_in_graphs(model):
    engine = engine_of(model, routing="uniform")
    done = engine.generate(prompts_of(5, VOCABULARY), FREE)
    assert all(c.finish_reason == "length" for c in done)
    assert is_recorded(engine)
