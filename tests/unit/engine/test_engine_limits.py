"""Limits of an engine: aborted requests, large batches, a full line, draining."""

import random

import pytest
from tests.suites.schedules import check_empty, check_logprobs, check_pool, hybrid

from nautiloid.core.errors import InputError
from nautiloid.core.types import SamplingParams
from nautiloid.engine.engine import Engine

MODEL = hybrid()
GREEDY = SamplingParams(temperature=0.0, max_tokens=4)


def engine_of(**options):
    return Engine(MODEL, **{"max_batch": 4, "page_tokens": 8, "stop_ids": (), **options})


@pytest.mark.parametrize("prefix_cache", [False, True])
def test_ten_thousand_aborted_requests_leave_every_slot_free(prefix_cache):
    engine = engine_of(prefix_cache=prefix_cache)
    draw = random.Random(0)
    alive = []
    for i in range(10_000):
        alive.append(engine.submit([draw.randrange(60)] * draw.randrange(1, 30), GREEDY))
        if i % 80 == 0:
            for request_id in engine.step():
                alive.remove(request_id)
            check_pool(engine)
        if len(alive) > 6 or i % 3:
            stopped = engine.abort(alive.pop(draw.randrange(len(alive))))
            assert stopped is not None
            assert stopped.finish_reason == "abort"
    for request_id in alive:
        engine.abort(request_id)
    check_empty(engine)


def test_batches_of_1_and_512_agree():
    """Near-tie rule (1e-4 logits), logprobs within 3e-5 of the request's own full forward."""
    draw = random.Random(1)
    prompts = [[draw.randrange(60) for _ in range(draw.randrange(1, 12))] for _ in range(512)]
    together = engine_of(max_batch=512).generate(prompts, GREEDY)
    alone = engine_of(max_batch=1)
    for i, done in enumerate(together):
        if i % 4 == 0:
            check_logprobs(MODEL, done)
        if i % 16 == 0:
            one = alone.generate([prompts[i]], GREEDY)[0]
            assert one.logprobs[0] == pytest.approx(done.logprobs[0], abs=3e-5)


def test_a_full_line_refuses_more():
    engine = engine_of(max_batch=1, max_waiting=2)
    ids = [engine.submit([1], GREEDY) for _ in range(2)]
    for ask in (engine.submit, engine.stream):
        with pytest.raises(InputError, match="engine: 2 requests wait: try again later"):
            ask([1], GREEDY)
    engine.step()  # one of them runs now
    ids.append(engine.submit([1], GREEDY))
    assert sorted(engine.drain()) == ids
    check_empty(engine)


def test_draining_finishes_what_was_accepted_and_takes_nothing_new():
    engine = engine_of(max_batch=2)
    ids = [engine.submit([i + 1] * 5, GREEDY) for i in range(5)]
    engine.step()
    done = engine.drain()
    assert sorted(done) == ids
    assert all(d.finish_reason == "length" for d in done.values())
    for ask in (engine.submit, engine.stream, lambda p, s: engine.generate([p], s)):
        with pytest.raises(InputError, match="engine: draining: it takes no new requests"):
            ask([1], GREEDY)
    engine.resume()
    assert len(engine.generate([[1]], GREEDY)[0].ids) == 4
    check_empty(engine)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"preemption": "drop"}, "preemption: drop: use recompute or swap"),
        ({"prefill_tokens": 0}, "prefill_tokens: 0: use at least 1"),
        ({"snapshots": 0, "prefix_cache": True}, "snapshots: 0: use at least 1"),
        ({"snapshots": 3}, "snapshots: 3: use at least 1, with prefix_cache"),
        (
            {"snapshot_every_tokens": 9},
            "snapshot_every_tokens: 9: use at least 1, with prefix_cache",
        ),
        ({"page_tokens": 0}, "page_tokens: 0: use at least 1"),
    ],
)
def test_bad_options_are_named(options, match):
    with pytest.raises(InputError, match=match):
        engine_of(**options)


def test_a_prompt_longer_than_the_cache_is_refused_and_others_go_on():
    engine = engine_of(memory_bytes=60_000, max_batch=2)
    most = engine.max_context_tokens
    assert most < 160
    first = engine.submit([3] * 5, GREEDY)
    with pytest.raises(InputError, match=f"prompt: {most} tokens: use fewer than {most}"):
        engine.submit([1] * most, GREEDY)
    assert list(engine.drain()) == [first]
    engine.resume()
    # the longest one that fits takes every page there is
    done = engine.generate([[1] * (most - 2)] * 2, SamplingParams(temperature=0.0, max_tokens=9))
    assert [len(d.ids) for d in done] == [2, 2]
    check_empty(engine)
