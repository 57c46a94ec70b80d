import random
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from nautiloid.core.errors import InputError
from nautiloid.core.types import SamplingParams
from nautiloid.engine.budget import activation_bytes, cap_of
from nautiloid.engine.cache import CachePool, Lease
from nautiloid.engine.engine import Engine


def fingerprint(pool, lease, tokens, slots=1):
    """What a sequence's first tokens, and perhaps its slot, hold."""
    rows = pool.rows(lease.pages)[:tokens]
    pages = [t[rows].sum() for t in pool.page_tensors]
    return torch.stack([*pages, *[t[lease.slot].sum() for t in pool.slot_tensors * slots]])


def write(pool, lease, start, stop, value):
    rows = pool.rows(lease.pages)[start:stop]
    for tensor in pool.page_tensors:
        tensor[rows] = value
    for tensor in pool.slot_tensors:
        tensor[lease.slot] = value


def test_ten_thousand_random_operations_leak_nothing_and_mix_nothing_up(config):
    config = replace(config, pattern="M*")
    pool = CachePool(
        config, max_batch=5, memory_bytes=400_000, page_tokens=4, has_prefixes=True, snapshots=3
    )
    draw = random.Random(0)
    held, kept = [], []  # sequences as [lease, tokens, print], kept pages as (pages, tokens, print)
    for step in range(10_000):
        what = draw.random()
        if held and what < 0.3:
            lease, *_ = held.pop(draw.randrange(len(held)))
            pool.release(lease)
        elif held and what < 0.5:
            item = draw.choice(held)
            tokens = item[1] + draw.choice([1, 3, 4, 9])
            missing = pool.num_pages_for(tokens) - len(item[0].pages)
            if missing <= len(pool.free_pages):
                # rows of its own begin where the shared ones end
                item[0] = pool.grow(item[0], tokens)
                write(pool, item[0], item[1], tokens, step % 97 + 1)
                item[1:] = tokens, fingerprint(pool, item[0], tokens)
        elif held and what < 0.6 and len(kept) < 6:
            lease, tokens, _ = draw.choice(held)
            pool.hold(lease.pages)
            kept.append((lease.pages, tokens, fingerprint(pool, Lease(0, lease.pages), tokens, 0)))
        elif kept and what < 0.68:
            pages, *_ = kept.pop(draw.randrange(len(kept)))
            pool.drop(pages)
        else:
            pages, tokens, _ = draw.choice(kept) if kept and what > 0.85 else ((), 0, None)
            whole = tokens // pool.page_tokens
            total = tokens + draw.choice([1, 4, 9, 30])
            if pool.free_slots and pool.num_pages_for(total) - whole <= len(pool.free_pages):
                lease = pool.acquire(total, pages[:whole])
                assert not fingerprint(pool, lease, 0).any()
                if pool.num_pages_for(tokens) > whole:
                    pool.copy_pages(pages[whole:][:1], lease.pages[whole:][:1])
                write(pool, lease, tokens, total, step % 97 + 1)
                held.append([lease, total, fingerprint(pool, lease, total)])
        for item in sorted(held, key=lambda i: -i[0].slot):
            if item[0].slot >= len(held):
                item[0] = pool.move_down(item[0], item[1])
        assert {item[0].slot for item in held} == set(range(len(held)))
        refs = [0] * (pool.num_pages + 1)
        for pages in [item[0].pages for item in held] + [pages for pages, *_ in kept]:
            for page in pages:
                refs[page] += 1
        assert pool.refs == refs
        assert pool.free_pages == {p for p in range(1, pool.num_pages + 1) if not refs[p]}
        if step % 20 == 0:
            for lease, tokens, value in held:
                assert len(lease.pages) == pool.num_pages_for(tokens)
                assert torch.equal(fingerprint(pool, lease, tokens), value)
            for pages, tokens, value in kept:
                assert torch.equal(fingerprint(pool, Lease(0, pages), tokens, 0), value)
    for lease, *_ in held:
        pool.release(lease)
    for pages, *_ in kept:
        pool.drop(pages)
    assert len(pool.free_slots) == pool.num_slots
    assert len(pool.free_pages) == pool.num_pages


@pytest.mark.parametrize("memory_bytes", [290_000, 323_457, 1_000_000, 50_000_000])
def test_states_stay_under_the_cap(config, memory_bytes):
    pool = CachePool(config, max_batch=16, memory_bytes=memory_bytes)
    assert pool.store.nbytes <= memory_bytes
    assert pool.num_slots >= 1
    assert pool.num_pages >= 1
    assert pool.num_slots <= 16


def test_too_small_a_cap_is_named(config):
    with pytest.raises(InputError, match="memory_bytes: 1000: use at least") as caught:
        CachePool(config, max_batch=4, memory_bytes=1000)
    least = int(str(caught.value).split()[-1])
    assert CachePool(config, max_batch=4, memory_bytes=least).store.nbytes == least


@pytest.mark.parametrize("pattern", ["MEM", "*E*", "--", "M*"])
def test_every_kind_of_model_has_room(config, pattern):
    pool = CachePool(replace(config, pattern=pattern), max_batch=3)
    assert pool.has_pages == ("*" in pattern)
    leases = [pool.acquire(500) for _ in range(3)]
    assert not pool.free_slots
    for lease in leases:
        pool.release(lease)


def test_usual_sequences_lie_in_runs(config):
    pool = CachePool(config, max_batch=4)
    leases = [pool.acquire(100) for _ in range(4)]
    starts = [lease.pages[0] for lease in leases]
    assert len({b - a for a, b in pairwise(starts)}) == 1
    view = pool.store.view([x.slot for x in leases], [x.pages for x in leases], [9, 5, 7, 2])
    view.prepare([1, 1, 1, 1])
    assert view.run is not None


@pytest.mark.parametrize("memory_bytes", [440_000, 1_000_000, 50_000_000])
@pytest.mark.parametrize("snapshots", [None, 1, 2])
def test_snapshots_come_out_of_the_same_cap(config, memory_bytes, snapshots):
    pool = CachePool(
        config, max_batch=16, memory_bytes=memory_bytes, has_prefixes=True, snapshots=snapshots
    )
    assert pool.store.nbytes == pool.budget.nbytes <= memory_bytes
    assert pool.num_snapshots == snapshots or (snapshots is None and pool.num_snapshots >= 1)
    assert pool.num_slots >= 1
    assert pool.num_pages >= 1
    facts = pool.facts()
    assert sum(facts["bytes"].values()) == facts["used_bytes"]


def test_reserved_bytes_come_out_of_the_same_cap(config):
    pool = CachePool(config, max_batch=4, memory_bytes=1_000_000, reserved_bytes=300_000)
    assert pool.store.nbytes + 300_000 <= 1_000_000
    assert pool.facts()["bytes"]["reserved"] == 300_000


def test_states_have_the_dtypes_that_were_asked_for(model):
    wide = Engine(model, max_batch=4, stop_ids=())
    engine = Engine(model, max_batch=4, stop_ids=(), kv_dtype="bfloat16", ssm_dtype=torch.float16)
    kinds = {
        name: tensor.dtype
        for groups in (engine.pool.store.slots, engine.pool.store.pages)
        for group in groups.values()
        for name, tensor in group.items()
    }
    assert kinds == {
        "ssm": torch.float16,
        "conv": torch.float32,
        "k": torch.bfloat16,
        "v": torch.bfloat16,
    }
    assert engine.pool.facts()["bytes"]["pages"] * 2 == wide.pool.facts()["bytes"]["pages"]
    params = SamplingParams(temperature=0.0, max_tokens=8)
    found, expected = (e.generate([[50] * 40], params)[0] for e in (engine, wide))
    # rounded states move logprobs by the order of a bfloat16 step
    assert found.logprobs[0] == pytest.approx(expected.logprobs[0], abs=0.05)


@pytest.mark.parametrize("field", ["kv_dtype", "ssm_dtype"])
def test_other_dtypes_of_states_are_refused(model, field):
    with pytest.raises(InputError, match=f"{field}: int8: use one of float32"):
        Engine(model, **{field: "int8"})


def test_the_cap_on_a_gpu_leaves_room_for_activations(config):
    activations = activation_bytes(config, tokens=2048, rows=8, itemsize=2)
    assert activations > 2048 * config.hidden_size * 2
    cap = cap_of(10**9)
    assert cap == int(0.9 * 10**9)
    pool = CachePool(config, max_batch=4, memory_bytes=cap, reserved_bytes=activations)
    assert pool.facts()["memory_bytes"] == cap >= pool.budget.nbytes > activations
