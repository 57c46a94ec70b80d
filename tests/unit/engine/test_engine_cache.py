import random
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from nautiloid.core.errors import InputError
from nautiloid.engine.cache import CachePool


def fingerprint(pool, lease, tokens):
    """What a sequence's slot and first tokens hold."""
    rows = pool.rows(lease.pages)[:tokens]
    pages = [t[rows].sum() for group in pool.store.pages.values() for t in group.values()]
    slots = [t[lease.slot].sum() for group in pool.store.slots.values() for t in group.values()]
    return torch.stack([*pages, *slots])


def write(pool, lease, tokens, value):
    rows = pool.rows(lease.pages)[:tokens]
    for group in pool.store.pages.values():
        for tensor in group.values():
            tensor[rows] = value
    for group in pool.store.slots.values():
        for tensor in group.values():
            tensor[lease.slot] = value


def test_random_use_leaks_nothing_and_mixes_nothing_up(config):
    pool = CachePool(config, max_batch=5, memory_bytes=600_000, page_tokens=4)
    draw = random.Random(0)
    held = []
    for step in range(600):
        if held and draw.random() < 0.45:
            lease, *_ = held.pop(draw.randrange(len(held)))
            pool.release(lease)
        else:
            tokens = draw.choice([1, 4, 9, 30, 200])
            if pool.fits(tokens):
                lease = pool.acquire(tokens)
                assert not fingerprint(pool, replace(lease, pages=()), 0).any()
                write(pool, lease, tokens, step % 97 + 1)
                held.append([lease, tokens, fingerprint(pool, lease, tokens)])
        for item in sorted(held, key=lambda i: -i[0].slot):
            if item[0].slot >= len(held):
                item[0] = pool.move_down(item[0], item[1])
        assert {item[0].slot for item in held} == set(range(len(held)))
        for lease, tokens, value in held:
            assert len(lease.pages) >= pool.num_pages_for(tokens)
            assert torch.equal(fingerprint(pool, lease, tokens), value)
        pages = [page for item in held for page in item[0].pages]
        assert len(set(pages)) == len(pages)
        assert set(pages) | pool.free_pages == set(range(1, pool.num_pages + 1))
        assert pool.free_pages.isdisjoint(pages)
    for lease, *_ in held:
        pool.release(lease)
    assert len(pool.free_slots) == pool.num_slots
    assert len(pool.free_pages) == pool.num_pages


@pytest.mark.parametrize("memory_bytes", [290_000, 323_457, 1_000_000, 50_000_000])
def test_states_stay_under_the_cap(config, memory_bytes):
    pool = CachePool(config, max_batch=16, memory_bytes=memory_bytes)
    assert pool.store.nbytes <= memory_bytes
    assert pool.fits(1)
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
    assert not pool.fits(1)
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
