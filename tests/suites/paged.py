"""Cases of attention over pages, against the plain formula in float64."""

from __future__ import annotations

import torch
from tests.suites.kernels import DEVICE, normal, relative_error
from tests.suites.ops import poisoned_memory
from torch import Tensor

from nautiloid.ops.attention import paged, reference, rotate
from nautiloid.ops.attention.paged import HeadInputs, Pages
from nautiloid.ops.norm.reference import rms_norm

SLOTS = 6


def make_pages(past: list[int], page: int, V: int, H: int, dtype: torch.dtype) -> Pages:
    """Shuffled pages of SLOTS sequences; what no sequence owns is NaN but for the null page."""
    each = max(past) // page + 2
    order = torch.randperm(SLOTS * each, generator=torch.Generator().manual_seed(0)) + 1
    table = torch.zeros(SLOTS + 1, each, dtype=torch.int32)
    table[:SLOTS] = order.view(SLOTS, each).int()
    rows = (SLOTS * each + 1) * page
    keys, values = (torch.full((rows, V, H), float("nan")).to(DEVICE, dtype) for _ in range(2))
    for tensor in (keys, values):
        tensor[:page] = 0
    return Pages(keys, values, table.to(DEVICE), page)


def rows_of(pages: Pages, slot: int, tokens: int) -> Tensor:
    """Rows of the first tokens of a slot."""
    at = torch.arange(tokens)
    own = pages.table[slot].cpu().long()
    return own[at // pages.page_tokens] * pages.page_tokens + at % pages.page_tokens


def check_decode(
    past: list[int],
    dtype: torch.dtype,
    bound: float,
    *,
    new: int = 1,
    queries: int = 4,
    groups: int = 2,
    width: int = 16,
    page: int = 16,
    has_norm: bool = False,
    rotated: int = 0,
    kv_dtype: torch.dtype | None = None,
) -> None:
    """Outputs, stored keys and values, and untouched rows of sequences in shuffled slots."""
    kv_dtype = kv_dtype or dtype
    slots = torch.randperm(SLOTS, generator=torch.Generator().manual_seed(1))[: len(past)]
    pages = make_pages(past, page, groups, width, kv_dtype)
    qkv = normal(len(past) * new, (queries + 2 * groups) * width).to(DEVICE, dtype)
    parts = qkv.split([queries * width, groups * width, groups * width], 1)
    q, k, v = (x.unflatten(1, (-1, width)) for x in parts)
    heads = HeadInputs()
    if has_norm or rotated:
        weights = [(1 + normal(width, seed=s)).to(DEVICE, dtype) for s in (1, 2)]
        heads = HeadInputs(*(weights if has_norm else (None, None)), 1e-6, 100.0, rotated)
    expected: list[Tensor] = []
    turned: list[Tensor] = []
    for b, (slot, count) in enumerate(zip(slots.tolist(), past, strict=True)):
        rows = rows_of(pages, slot, count)
        for i, tensor in enumerate((pages.keys, pages.values)):
            tensor[rows] = normal(count, groups, width, seed=7 * b + i).to(DEVICE, kv_dtype)
        at = torch.arange(count, count + new, device=DEVICE)
        mine = slice(b * new, (b + 1) * new)
        own_q, own_k = q[mine].double(), k[mine].double()
        if heads.q_weight_H is not None and heads.k_weight_H is not None:
            own_q = rms_norm(own_q, heads.q_weight_H.double(), heads.eps)
            own_k = rms_norm(own_k, heads.k_weight_H.double(), heads.eps)
        if rotated:
            own_q, own_k = (rotate(x, at, heads.theta, rotated) for x in (own_q, own_k))
        turned.append(own_k)
        old = [t[rows].double() for t in (pages.keys, pages.values)]
        keys, values = torch.cat([old[0], own_k]), torch.cat([old[1], v[mine].double()])
        expected.append(reference.attend(own_q, keys, values, scale=0.3))
    before = pages.keys.clone()
    where = slots.to(DEVICE, torch.int32)
    held = torch.tensor(past, device=DEVICE, dtype=torch.int32)
    with poisoned_memory():
        found = paged.decode(q, k, v, pages, where, held, scale=0.3, heads=heads)
    for b, out in enumerate(found.split(new)):
        assert relative_error(out, expected[b]) <= bound, (b, relative_error(out, expected[b]))
    stored = torch.cat(
        [rows_of(pages, s, n + new)[n:] for s, n in zip(slots.tolist(), past, strict=True)]
    )
    assert relative_error(pages.keys[stored], torch.cat(turned)) <= bound
    assert torch.equal(pages.values[stored], v.to(kv_dtype))
    kept = torch.ones(len(before), dtype=torch.bool)
    kept[stored] = False
    assert torch.equal(before[kept].nan_to_num(9.0), pages.keys[kept].nan_to_num(9.0))


def check_neighbours(dtype: torch.dtype) -> None:
    """NaN in one sequence spoils no other; padding rows may share the null slot."""
    past = [20, 33, 5]
    pages = make_pages(past, 16, 2, 16, dtype)
    clean = Pages(pages.keys.nan_to_num(0.5), pages.values.nan_to_num(0.5), pages.table, 16)
    where = torch.tensor([3, 1, SLOTS, SLOTS, 0], device=DEVICE, dtype=torch.int32)
    held = torch.tensor([20, 33, 0, 0, 5], device=DEVICE, dtype=torch.int32)
    q, k, v = (normal(5, n, 16, seed=n).to(DEVICE, dtype) for n in (4, 2, 2))
    expected = paged.decode(q, k, v, clean, where, held, scale=0.3)
    assert bool(expected.isfinite().all())
    spoiled = Pages(clean.keys.clone(), clean.values.clone(), pages.table, 16)
    for tensor in (spoiled.keys, spoiled.values):
        tensor[rows_of(pages, 1, 33)] = float("nan")
    found = paged.decode(q, k, v, spoiled, where, held, scale=0.3)
    assert torch.equal(found[[0, 2, 3, 4]], expected[[0, 2, 3, 4]])
    assert bool(found[1].isnan().all())


def check_gather(dtype: torch.dtype) -> None:
    """Keys and values of several sequences end to end, with and without the rows that hold no keys."""
    totals = [33, 1, 16]
    pages = make_pages(totals, 16, 2, 24, dtype)
    slots = [4, 0, 2]
    lines = [rows_of(pages, s, n) for s, n in zip(slots, totals, strict=True)]
    for tensor in (pages.keys, pages.values):
        tensor[torch.cat(lines)] = torch.randn(50, 2, 24).to(DEVICE, dtype)
    where = torch.tensor(slots, device=DEVICE, dtype=torch.int32)
    for first in (0, 1):
        with poisoned_memory():
            found = paged.gather(pages, where, totals, dtype=torch.float32, first_key=first)
        rows = torch.cat([line[first:] for line in lines])
        for tensor, own in zip((pages.keys, pages.values), found, strict=True):
            assert torch.equal(own, tensor[rows].float())


def check_extend(dtype: torch.dtype, bound: float) -> None:
    """Chunks of several sequences, with a past and without."""
    past, lengths = [100, 0, 7, 333], [30, 5, 1, 200]
    totals = [p + n for p, n in zip(past, lengths, strict=True)]
    pages = make_pages(totals, 16, 2, 64, dtype)
    slots = [4, 0, 2, 5]
    q = normal(sum(lengths), 8, 64).to(DEVICE, dtype)
    expected: list[Tensor] = []
    for b, part in enumerate(q.split(lengths)):
        rows = rows_of(pages, slots[b], totals[b])
        for i, tensor in enumerate((pages.keys, pages.values)):
            tensor[rows] = normal(totals[b], 2, 64, seed=3 * b + i).to(DEVICE, dtype)
        old = [t[rows].double() for t in (pages.keys, pages.values)]
        expected.append(reference.attend(part.double(), *old, scale=0.2))
    where = torch.tensor(slots, device=DEVICE, dtype=torch.int32)
    found = paged.extend(q, pages, where, lengths, totals, scale=0.2)
    for own, other in zip(found.split(lengths), expected, strict=True):
        assert relative_error(own, other) <= bound
