"""Whatever runs beside a request, and however often it gives way, its completion stays the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.suites.schedules import (
    CHUNK,
    PAGE,
    asked,
    check_empty,
    check_logprobs,
    engine_of,
    event,
    hybrid,
    play,
)
from tests.suites.steps import run_ahead

from nautiloid.core.types import SamplingParams

MODEL = hybrid()
ATTENTION = hybrid("*E*")
SCANS = hybrid("MEM")
PIECES = [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * PAGE, 2048]


def ahead(engine):
    """Let steps run ahead of the host as on a GPU, and check the page table they read."""
    steps = run_ahead(engine).runner.steps
    assert steps is not None
    launch, table = steps.launch, engine.pool.store.page_table

    def checked(requests):
        step = launch(requests)
        for request in requests:
            pages = request.lease.pages
            assert tuple(table[request.lease.slot, : len(pages)].tolist()) == pages
        return step

    steps.launch = checked
    return engine


@settings(max_examples=25, deadline=None)
@given(
    events=st.lists(event, min_size=3, max_size=14),
    pieces=st.sampled_from(PIECES),
    pages=st.sampled_from([9, 12, 40]),
    preemption=st.sampled_from(["recompute", "swap"]),
    prefix_cache=st.booleans(),
    is_ahead=st.booleans(),
)
def test_every_schedule_of_a_hybrid(events, pieces, pages, preemption, prefix_cache, is_ahead):
    """Near-tie rule (1e-4 logits), logprobs within 3e-5 of the request's own full forward."""
    engine = engine_of(
        MODEL,
        pages=pages,
        prefill_tokens=pieces,
        preemption=preemption,
        prefix_cache=prefix_cache,
    )
    for what, completion in play(ahead(engine) if is_ahead else engine, events):
        assert len(completion.ids) == what.max_tokens
        check_logprobs(MODEL, completion, what.temperature)


@pytest.mark.parametrize("model", [ATTENTION, SCANS], ids=["attention", "scans"])
@settings(max_examples=12, deadline=None)
@given(
    events=st.lists(event, min_size=3, max_size=12),
    pieces=st.sampled_from(PIECES),
    preemption=st.sampled_from(["recompute", "swap"]),
)
def test_every_schedule_of_models_with_one_kind_of_state(model, events, pieces, preemption):
    """Near-tie rule (1e-4 logits), logprobs within 3e-5 of the request's own full forward."""
    engine = engine_of(
        model, pages=10, prefill_tokens=pieces, preemption=preemption, prefix_cache=True
    )
    for what, completion in play(engine, events):
        assert len(completion.ids) == what.max_tokens
        check_logprobs(model, completion, what.temperature)


@settings(max_examples=10, deadline=None)
@given(
    requests=st.lists(asked, min_size=1, max_size=4),
    n=st.integers(2, 3),
    prefix_cache=st.booleans(),
)
def test_several_completions_of_a_prompt(requests, n, prefix_cache):
    """Near-tie rule; each of n completions has its own random numbers, the same as alone."""
    engine = engine_of(MODEL, pages=30, prefix_cache=prefix_cache)
    params = [
        SamplingParams(temperature=r.temperature, max_tokens=r.max_tokens, seed=r.own, n=n)
        for r in requests
    ]
    found = engine.generate([r.prompt for r in requests], params)
    for i, completion in enumerate(found):
        check_logprobs(MODEL, completion, requests[i // n].temperature)
    check_empty(engine)


@pytest.mark.parametrize("preemption", ["recompute", "swap"])
@pytest.mark.parametrize("is_ahead", [False, True])
@pytest.mark.parametrize("prefix_cache", [False, True])
def test_preempted_in_the_middle_of_decoding(preemption, prefix_cache, is_ahead):
    """Near-tie rule, and requests really gave way: the pages hold little more than one of them."""
    prompts = [[i + 1] * (CHUNK + i) for i in range(3)]
    params = SamplingParams(temperature=0.0, max_tokens=40)
    alone = engine_of(MODEL, pages=40, max_batch=1)
    expected = [alone.generate([p], params)[0] for p in prompts]
    engine = engine_of(MODEL, pages=10, preemption=preemption, prefix_cache=prefix_cache)
    if is_ahead:
        ahead(engine)
    found = engine.generate(prompts, params)
    assert engine.scheduler.num_preempted > 0
    for one, other in zip(expected, found, strict=True):
        check_logprobs(MODEL, other)
        assert other.logprobs[:5] == pytest.approx(one.logprobs[:5], abs=1e-4)
    check_empty(engine)


def test_equal_priorities_never_starve():
    """A steady stream of newcomers cannot keep an early request from its end."""
    engine = engine_of(MODEL, pages=10, max_batch=2)
    params = SamplingParams(temperature=0.0, max_tokens=50)
    first = engine.submit([5] * 20, params, client="slow")
    for step in range(400):
        if step % 2 == 0:
            engine.submit([step % 60] * 30, SamplingParams(max_tokens=30), client=f"c{step % 7}")
        if first in engine.step():
            break
    else:
        raise AssertionError("the first request never ended")
    for request_id in list(engine.requests):
        engine.abort(request_id)
    engine.step()
    check_empty(engine)


def test_clients_take_turns():
    engine = engine_of(MODEL, pages=60, max_batch=1)
    params = SamplingParams(temperature=0.0, max_tokens=1)
    asked_ids = [engine.submit([i + 1], params, client="many") for i in range(5)]
    asked_ids += [engine.submit([40 + i], params, client="few") for i in range(2)]
    order = []
    while engine.requests:
        order += list(engine.step())
    assert order == [asked_ids[i] for i in (0, 5, 1, 6, 2, 3, 4)]


def test_lower_priority_numbers_run_first_and_take_places():
    engine = engine_of(MODEL, pages=12, max_batch=1)
    low = engine.submit([3] * 9, SamplingParams(temperature=0.0, max_tokens=12), priority=5)
    engine.step()
    engine.step()
    high = engine.submit([4] * 9, SamplingParams(temperature=0.0, max_tokens=3), priority=-1)
    order, done = [], {}
    while engine.requests:
        finished = engine.step()
        order += list(finished)
        done |= finished
    assert order == [high, low]
    assert engine.scheduler.num_preempted == 1
    for completion in done.values():
        check_logprobs(MODEL, completion)
    check_empty(engine)
