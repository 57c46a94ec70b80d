"""Drafts change no completion, whatever runs beside a request and however often it gives way."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.suites.schedules import (
    CHUNK,
    PAGE,
    Asked,
    check_empty,
    check_logprobs,
    check_pool,
    event,
    hybrid,
)
from tests.suites.steps import run_ahead

from nautiloid.core.types import SamplingParams
from nautiloid.engine.engine import Engine
from nautiloid.engine.speculation import Speculation, draft_specs
from nautiloid.model.config import MTPConfig
from nautiloid.model.states import state_specs

MODEL = hybrid(mtp=MTPConfig(depth=2))
ATTENTION = hybrid("*E*", mtp=MTPConfig(pattern="*", depth=1))
SCANS = hybrid("MEM", mtp=MTPConfig(pattern="E", depth=1))
GREEDY = SamplingParams(temperature=0.0, max_tokens=24)


def engine_of(model, kind, num_tokens, *, pages, max_batch=3, snapshots=4, **options):
    """An engine with so many pages that can be handed out."""
    speculation = Speculation(kind=kind, num_tokens=num_tokens, ngram_tokens=(1, 3))
    config = model.config if kind == "mtp" else replace(model.config, mtp=None)
    slot = page = 0
    for states in state_specs(config, draft_specs(config, speculation)).values():
        for spec in states.values():
            size = 4 * math.prod(spec.shape)
            slot, page = (
                slot + size * (spec.kind == "slot"),
                page + size * PAGE * (spec.kind == "paged"),
            )
    rows = max_batch + 1 + (snapshots if options.get("prefix_cache") else 0)
    return Engine(
        model,
        max_batch=max_batch,
        memory_bytes=rows * slot + (pages + 1) * page,
        page_tokens=PAGE,
        stop_ids=(),
        speculation=speculation,
        **options,
    )


def play(engine, events):
    """Run a schedule to its end; completions by what was asked, aborted ones left out."""
    known, done = {}, []

    def take(finished):
        done.extend((known.pop(i), completion) for i, completion in finished.items())

    for what in events:
        if isinstance(what, Asked):
            if len(what.prompt) + what.max_tokens <= engine.max_context_tokens:
                known[
                    engine.submit(
                        what.prompt, what.params, priority=what.priority, client=what.client
                    )
                ] = what
        elif isinstance(what, int):
            for _ in range(what):
                take(engine.step())
                check_pool(engine)
        elif what == "pause":
            engine.pause()
            engine.resume()
        elif known:
            request_id = sorted(known)[what[1] % len(known)]
            del known[request_id]
            engine.abort(request_id)
            check_pool(engine)
    take(engine.drain())
    assert not known
    check_empty(engine)
    return done


@settings(max_examples=25, deadline=None)
@given(
    events=st.lists(event, min_size=3, max_size=12),
    kind=st.sampled_from(["mtp", "ngram"]),
    num_tokens=st.integers(1, 5),
    pieces=st.sampled_from([1, CHUNK - 1, CHUNK + 1, 2048]),
    pages=st.sampled_from([9, 12, 40]),
    preemption=st.sampled_from(["recompute", "swap"]),
    prefix_cache=st.booleans(),
    is_ahead=st.booleans(),
)
def test_every_schedule(
    events, kind, num_tokens, pieces, pages, preemption, prefix_cache, is_ahead
):
    """Near-tie rule (1e-4 logits), logprobs within 3e-5 of the request's own full forward."""
    engine = engine_of(
        MODEL,
        kind,
        num_tokens,
        pages=pages,
        prefill_tokens=pieces,
        preemption=preemption,
        prefix_cache=prefix_cache,
    )
    if is_ahead:
        run_ahead(engine)  # the steps of a GPU
    for what, completion in play(engine, events):
        assert len(completion.ids) == what.max_tokens
        check_logprobs(MODEL, completion, what.temperature)


@pytest.mark.parametrize("model", [ATTENTION, SCANS], ids=["attention", "scans"])
@settings(max_examples=8, deadline=None)
@given(events=st.lists(event, min_size=3, max_size=10), num_tokens=st.integers(1, 3))
def test_models_with_one_kind_of_state(model, events, num_tokens):
    """Near-tie rule (1e-4 logits), logprobs within 3e-5 of the request's own full forward."""
    engine = engine_of(model, "mtp", num_tokens, pages=30, prefix_cache=True)
    for what, completion in play(engine, events):
        assert len(completion.ids) == what.max_tokens
        check_logprobs(model, completion, what.temperature)


@pytest.mark.parametrize("preemption", ["recompute", "swap"])
@pytest.mark.parametrize("kind", ["mtp", "ngram"])
def test_preempted_in_the_middle_of_decoding(kind, preemption):
    """Near-tie rule, and requests really gave way."""
    engine = engine_of(MODEL, kind, 3, pages=10, preemption=preemption)
    found = engine.generate([[i + 1] * (CHUNK + i) for i in range(3)], GREEDY)
    assert engine.scheduler.num_preempted > 0
    for completion in found:
        check_logprobs(MODEL, completion)
    check_empty(engine)


@pytest.mark.parametrize("kind", ["mtp", "ngram"])
@pytest.mark.parametrize("is_ahead", [False, True])
def test_conversations_go_on_from_what_was_kept(kind, is_ahead):
    """The end of a completion, cut anywhere in a run of accepted drafts, serves the next turn."""
    for stop in range(5, 12):
        params = replace(GREEDY, max_tokens=stop)
        engine = engine_of(MODEL, kind, 3, pages=60, prefix_cache=True)
        if is_ahead:
            run_ahead(engine)
        first = engine.generate([[5, 6] * 9], params)[0]
        following = [*first.prompt_ids, *first.ids, 9, 8]
        sharing = engine.scheduler.sharing
        assert sharing is not None
        before = sharing.cache.hit_tokens
        second = engine.generate([following], params)[0]
        assert sharing.cache.hit_tokens - before == len(following) - 3
        check_logprobs(MODEL, second)
        alone = engine_of(MODEL, kind, 3, pages=60).generate([following], params)[0]
        assert (second.ids, second.drafts) == (alone.ids, alone.drafts)
        check_empty(engine)


KINDS = [*(("mtp", k) for k in range(1, 6)), ("ngram", 3)]


@pytest.mark.parametrize(("kind", "num_tokens"), KINDS)
def test_cached_prefixes_change_nothing(kind, num_tokens):
    """vLLM #53912: what is kept of a prompt must serve it again, beside other continuations of it."""
    shared = [(7 * i + i * i) % 61 for i in range(3 * CHUNK)]
    asked = [[*shared, *[k] * (k + 1)] for k in range(3)] + [shared]
    params = [replace(GREEDY, temperature=0.7 * (i % 2), seed=i) for i in range(len(asked))]
    expected = [
        engine_of(MODEL, kind, num_tokens, pages=60).generate([p], s)[0]
        for p, s in zip(asked, params, strict=True)
    ]
    engine = engine_of(MODEL, kind, num_tokens, pages=60, prefix_cache=True, snapshots=8)
    for _ in range(2):
        for one, other in zip(engine.generate(asked, params), expected, strict=True):
            assert one.ids == other.ids
            # drafts, too, are made of the same states
            assert one.drafts == other.drafts
            assert one.logprobs == pytest.approx(other.logprobs, abs=3e-5)
    sharing = engine.scheduler.sharing
    assert sharing is not None
    assert sharing.cache.hit_tokens > 0
    check_empty(engine)
