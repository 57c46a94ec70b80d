"""Prompts that start from states of earlier ones give what they give from a cold start."""

import math
import random
from array import array

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.suites import schedules
from tests.suites.decoding import check_near_tie
from tests.suites.schedules import (
    CHUNK,
    PAGE,
    VOCAB,
    check_empty,
    check_logprobs,
    check_pool,
    hybrid,
)

from nautiloid.core.types import SamplingParams
from nautiloid.engine.cache import CachePool
from nautiloid.engine.engine import Engine
from nautiloid.engine.prefix import PrefixCache, encode

MODEL = hybrid()
ATTENTION = hybrid("*E*")
GREEDY = SamplingParams(temperature=0.0, max_tokens=6)
LENGTHS = [2, 3, PAGE - 1, PAGE, PAGE + 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 1, 63, 64, 65]


def engine_of(model=MODEL, *, max_batch=4, **options):
    options = {"page_tokens": PAGE, "prefix_cache": True, "stop_ids": ()} | options
    return Engine(model, max_batch=max_batch, **options)


def tokens(length, seed):
    draw = random.Random(f"{length} {seed}")
    return [draw.randrange(VOCAB) for _ in range(length)]


def hits(engine):
    return engine.scheduler.sharing.cache.hit_tokens


def forwarded(engine, monkeypatch):
    """Prompt tokens that went through prefills and the steps that ran the end of a prompt."""
    seen = []
    prefill, decode = engine.runner.prefill, engine.runner.decode

    def count_prefill(plan):
        seen.append(sum(count for _, count in plan))
        return prefill(plan)

    def count_decode(requests):
        seen.append(sum(not r.ids for r in requests))
        return decode(requests)

    monkeypatch.setattr(engine.runner, "prefill", count_prefill)
    monkeypatch.setattr(engine.runner, "decode", count_decode)
    return seen


@pytest.mark.parametrize("model", [MODEL, ATTENTION], ids=["hybrid", "attention"])
@pytest.mark.parametrize("pieces", [1, CHUNK - 1, CHUNK, CHUNK + 1, 2048])
def test_warm_equals_cold_for_prompts_of_any_length(model, pieces):
    """Near-tie rule (1e-4 logits), logprobs within 3e-5 of the full forward, cold and warm."""
    engine = engine_of(model, prefill_tokens=pieces)
    for length in LENGTHS if pieces in (CHUNK - 1, 2048) else LENGTHS[1:8:3]:
        prompt = tokens(length, 0)
        cold = engine.generate([prompt], GREEDY)[0]
        before = hits(engine)
        warm = engine.generate([prompt], GREEDY)[0]
        assert hits(engine) - before == length - 1
        check_near_tie(model, prompt, cold.ids, warm.ids)
        check_logprobs(model, cold)
        check_logprobs(model, warm)
    check_empty(engine)


@pytest.mark.parametrize("shorter", [1, PAGE - 1, PAGE, CHUNK, 3 * PAGE + 1, 49])
def test_a_longer_prompt_does_not_lend_a_later_state(shorter):
    """Near-tie rule; the state after 49 tokens says nothing of a beginning of them."""
    engine = engine_of()
    prompt = tokens(50, 1)
    engine.generate([prompt], GREEDY)
    done = engine.generate([prompt[:shorter]], GREEDY)[0]
    assert hits(engine) == 0
    check_logprobs(MODEL, done)


@pytest.mark.parametrize("shared", [17, 3 * PAGE, 3 * PAGE + 5, 2 * CHUNK])
def test_the_place_where_prompts_part_is_kept(shared):
    """Near-tie rule; the second prompt cuts its prefill there, the third one starts from it."""
    engine = engine_of()
    prompts = [[*tokens(shared, 2), 1 + i, *tokens(9, i)] for i in range(4)]
    found = []
    for prompt in prompts:
        before = hits(engine)
        check_logprobs(MODEL, engine.generate([prompt], GREEDY)[0])
        found.append(hits(engine) - before)
    assert found == [0, 0, shared, shared]
    check_empty(engine)


def test_snapshots_at_intervals_serve_prompts_that_part_in_between():
    """Near-tie rule; without intervals the first prompt would leave nothing for the second."""
    engine = engine_of(snapshot_every_tokens=16)
    prompt = tokens(50, 11)
    for asked in (prompt, [*prompt[:40], 1, 2]):
        check_logprobs(MODEL, engine.generate([asked], GREEDY)[0])
    assert hits(engine) == 32
    check_empty(engine)


@pytest.mark.parametrize("model", [MODEL, ATTENTION], ids=["hybrid", "attention"])
def test_prompts_that_come_together_run_their_beginning_once(model, monkeypatch):
    """Near-tie rule; the beginning goes through the model once, whatever the pieces."""
    for pieces in (PAGE + 3, 2048):
        engine = engine_of(model, max_batch=6, prefill_tokens=pieces)
        seen = forwarded(engine, monkeypatch)
        prompts = [[*tokens(70, 3), 1 + i, *tokens(9, i)] for i in range(6)]
        for done in engine.generate(prompts, GREEDY):
            check_logprobs(model, done)
        assert sum(seen) == 70 + 6 * 10
        check_empty(engine)


def test_n_completions_prefill_once(monkeypatch):
    """Near-tie rule; the last token of the prompt is run for each completion."""
    engine = engine_of(max_batch=3)
    seen = forwarded(engine, monkeypatch)
    params = SamplingParams(max_tokens=5, n=8, seed=1)
    for done in engine.generate([tokens(40, 4)], params):
        check_logprobs(MODEL, done, temperature=1.0)
    assert sum(seen) == 39 + 8
    check_empty(engine)


def test_a_conversation_goes_on_from_its_last_answer():
    """Near-tie rule; the state after the answer serves the next turn."""
    engine = engine_of()
    prompt, known = tokens(21, 5), 0
    for turn in range(4):
        before = hits(engine)
        done = engine.generate([prompt], GREEDY)[0]
        check_logprobs(MODEL, done)
        assert hits(engine) - before == known
        known = len(prompt) + len(done.ids) - 1
        prompt = [*prompt, *done.ids, *tokens(3 + turn, turn)]
    check_empty(engine)


def test_salts_keep_prefixes_apart():
    engine = engine_of()
    prompt = tokens(30, 6)
    for salt, expected in (("a", 0), ("b", 0), ("a", 29), (None, 29), (None, 29), ("b", 58)):
        engine.generate([prompt], GREEDY, salt=salt)
        assert hits(engine) == expected
    check_empty(engine)


def test_new_weights_forget_all_prefixes():
    model, other = hybrid(seed=3), hybrid(seed=4)
    engine = engine_of(model)
    prompt = tokens(30, 7)
    engine.generate([prompt], GREEDY)
    engine.load_weights(other.state_dict().items(), 1)
    check_pool(engine)
    done = engine.generate([prompt], GREEDY)[0]
    assert hits(engine) == 0
    check_logprobs(other, done)


def test_swapped_states_do_not_outlive_the_weights():
    """Near-tie rule under the new weights: what was in host memory came from the old ones."""
    model, other = hybrid(seed=3), hybrid(seed=4)
    engine = schedules.engine_of(model, pages=10, preemption="swap")
    params = SamplingParams(temperature=0.0, max_tokens=40)
    asked = {engine.submit(tokens(20, i), params): tokens(20, i) for i in range(3)}
    while not engine.scheduler.swapped:
        engine.step()
    engine.pause()
    engine.load_weights(other.state_dict().items(), 1)
    engine.resume()
    before = {i: list(engine.requests[i].ids) for i in asked}
    for request_id, done in engine.drain().items():
        kept = before[request_id]
        assert list(done.ids[: len(kept)]) == kept
        whole = engine_of(other).generate([[*asked[request_id], *kept]], params)[0]
        check_near_tie(other, [*asked[request_id], *kept], whole.ids[:5], done.ids[len(kept) :][:5])


def test_old_prefixes_go_before_anybody_gives_way():
    engine = schedules.engine_of(MODEL, pages=30, max_batch=2, snapshots=6, prefix_cache=True)
    for i in range(20):
        done = engine.generate([tokens(60, i)], SamplingParams(temperature=0.0, max_tokens=30))[0]
        check_logprobs(MODEL, done)
        check_pool(engine)
        again = hits(engine)
        engine.generate([tokens(60, i)], SamplingParams(max_tokens=1))
        assert hits(engine) - again == 59  # the newest ones are still there
    assert engine.scheduler.num_preempted == 0
    check_empty(engine)


def test_a_burst_of_prompts_does_not_drive_out_what_they_share():
    """The shared beginning is computed twice, by the first prompt and by the one that cuts there."""
    engine = schedules.engine_of(MODEL, pages=60, max_batch=4, snapshots=3, prefix_cache=True)
    prompts = [[*tokens(40, 12), 1 + i, *tokens(9, i)] for i in range(24)]
    for done in engine.generate(prompts[:1], GREEDY) + engine.generate(prompts[1:], GREEDY):
        check_logprobs(MODEL, done)
    assert hits(engine) == 22 * 40
    check_empty(engine)


def test_a_failed_request_leaves_no_prefix_behind():
    """A NaN touches neither its neighbours, nor later requests with the same beginning."""
    model = hybrid()
    poison = VOCAB - 1
    model.embeddings.weight.data[poison] = math.nan
    engine = engine_of(model)
    bad, good = [*tokens(30, 8), poison, *tokens(9, 8)], tokens(33, 9)
    good = [t % (VOCAB - 1) for t in good]
    bad[:30] = [t % (VOCAB - 1) for t in bad[:30]]
    found = []
    for _ in range(2):
        found = engine.generate([good, bad, good], GREEDY)
        assert [d.finish_reason for d in found] == ["length", "error", "length"]
        check_pool(engine)
    late = engine.generate([[*bad[:30], 3]], GREEDY)[0]
    assert late.finish_reason == "length"
    model.embeddings.weight.data[poison] = 0
    for done in (*found[::2], late):
        check_logprobs(model, done)
    assert all(torch.isfinite(t).all() for t in engine.pool.page_tensors)
    check_empty(engine)


def tokens_of(node):
    """The tokens on the way to a node."""
    edges = b""
    while node is not None:
        edges, node = node.edge + edges, node.parent
    return tuple(array("i", edges))


@settings(max_examples=60, deadline=None)
@given(
    operations=st.lists(
        st.tuples(
            st.sampled_from(["keep", "keep", "find", "evict", "forget"]),
            st.lists(st.integers(0, 2), min_size=1, max_size=12),
        ),
        max_size=60,
    )
)
def test_the_tree_equals_a_table_of_prefixes(operations):
    """Bit-equal to a plain dictionary: the longest kept beginning, and the longest common one."""
    pool = CachePool(MODEL.config, max_batch=3, page_tokens=4, has_prefixes=True)
    cache = PrefixCache(pool)
    table = {}
    for what, ids in operations:
        lease = pool.acquire(len(ids))
        if what == "keep":
            pool.slot_tensors[0][lease.slot] = hash(tuple(ids)) % 1000
            assert cache.keep("", encode(ids), lease.slot, lease.pages)
            table.setdefault(tuple(ids), hash(tuple(ids)) % 1000)
        elif what == "evict":
            cache.evict()
        elif what == "forget":
            cache.forget("", encode(ids))
        pool.release(lease)
        kept = {entry.tokens for entry in cache}
        assert len(kept) <= pool.num_snapshots
        known = {tokens_of(entry.node) for entry in cache}
        assert known <= set(table)
        table = {prefix: table[prefix] for prefix in known}
        hit = cache.find("", encode(ids))
        beginnings = [k for k in table if tuple(ids[: len(k)]) == k]
        longest = max(beginnings, key=len, default=())
        assert hit.tokens == len(longest)
        if hit.entry is not None:
            assert (pool.slot_tensors[0][hit.entry.row] == table[longest]).all()
        common = [
            next((i for i, (a, b) in enumerate(zip(k, ids, strict=False)) if a != b), None)
            for k in table
        ]
        lengths = [
            min(len(k), len(ids)) if at is None else at for k, at in zip(table, common, strict=True)
        ]
        assert hit.shared == max(lengths, default=0)
    cache.clear()
    assert len(pool.free_pages) == pool.num_pages
    assert len(pool.free_snapshots) == pool.num_snapshots
    assert not cache.held
