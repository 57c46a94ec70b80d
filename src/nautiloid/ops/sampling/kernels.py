# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false, reportMissingImports=false
"""Triton kernels that draw tokens from logits.

A row is cut into parts of one size whatever the batch, so its token depends on nothing but its
logits, settings and random number. The formulas are those of `reference.py` and `counters.py`.

Suffixes: B rows, V vocabulary, C parts of a row.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _scale(temperature_ptr, b):
    """1 over the temperature; 1 for greedy rows."""
    temperature = tl.load(temperature_ptr + b)
    return tl.where(temperature > 0, 1.0 / tl.where(temperature > 0, temperature, 1.0), 1.0)


@triton.jit
def _uniform(seed, position):
    """The number in [0, 1) of a seed and a position (SplitMix64, 53 bits)."""
    z = seed.to(tl.uint64) + (position + 1).to(tl.uint64) * 0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    return ((z ^ (z >> 31)) >> 11).to(tl.float64) * (1.0 / 9007199254740992.0)


@triton.jit
def _load(logits_ptr, b, v, V, stride, scale, floor_ptr, HAS_FLOOR: tl.constexpr):
    """Scaled logits of a part of a row, -inf where they are excluded."""
    x = tl.load(logits_ptr + b.to(tl.int64) * stride + v, mask=v < V, other=-float("inf"))
    x = x.to(tl.float32) * scale
    if HAS_FLOOR:
        x = tl.where(x < tl.load(floor_ptr + b), -float("inf"), x)
    return x


@triton.jit
def parts_kernel(
    logits_ptr, temperature_ptr, floor_ptr, top_ptr, sum_ptr, best_ptr, V, stride, C,
    BLOCK: tl.constexpr, HAS_FLOOR: tl.constexpr,
):  # fmt: skip
    """Highest scaled logit of each part, its index, and the sum of exp(x - highest).

    Program (b, c). The sum is NaN where the part holds NaN or +inf, and 0 where all is -inf.
    """
    b, c = tl.program_id(0), tl.program_id(1)
    v = c * BLOCK + tl.arange(0, BLOCK)
    x = _load(logits_ptr, b, v, V, stride, _scale(temperature_ptr, b), floor_ptr, HAS_FLOOR)
    top, best = tl.max(x, 0, return_indices=True)
    base = tl.where(top == -float("inf"), 0.0, top)
    total = tl.sum(tl.exp(x - base), 0)
    tl.store(top_ptr + b * C + c, top)
    tl.store(sum_ptr + b * C + c, total)
    tl.store(best_ptr + b * C + c, c * BLOCK + best)


@triton.jit
def pick_kernel(
    logits_ptr, temperature_ptr, floor_ptr, top_ptr, sum_ptr, best_ptr, seed_ptr, position_ptr,
    slot_ptr, newest_ptr, id_ptr, logprob_ptr, V, stride, C,
    BLOCK: tl.constexpr, BLOCK_C: tl.constexpr, HAS_FLOOR: tl.constexpr, HAS_SLOTS: tl.constexpr,
):  # fmt: skip
    """The token of each row by inverting its cumulative distribution, and its log probability.

    Program (b). Rows of temperature 0 get their first best token. With slots, the token also goes to
    newest[slot[b]].
    """
    b = tl.program_id(0)
    c = tl.arange(0, BLOCK_C)
    tops = tl.load(top_ptr + b * C + c, mask=c < C, other=-float("inf"))
    sums = tl.load(sum_ptr + b * C + c, mask=c < C, other=0.0)
    bests = tl.load(best_ptr + b * C + c, mask=c < C, other=0)
    top, first = tl.max(tops, 0, return_indices=True)
    base = tl.where(top == -float("inf"), 0.0, top)
    # a NaN that hides behind a maximum is in the sum
    shares = sums.to(tl.float64) * tl.exp(tl.where(sums == 0.0, 0.0, tops - base)).to(tl.float64)
    ends = tl.cumsum(shares, 0)
    total = tl.max(ends, 0)
    mass = tl.sum(shares, 0)
    lse = base + tl.log(mass).to(tl.float32)
    if tl.load(temperature_ptr + b) > 0:
        point = _uniform(tl.load(seed_ptr + b), tl.load(position_ptr + b)) * total
        part = tl.minimum(tl.sum((ends <= point).to(tl.int32), 0), C - 1)
        share = tl.sum(tl.where(c == part, shares, 0.0), 0)
        before = tl.sum(tl.where(c == part, ends, 0.0), 0) - share
        part_top = tl.sum(tl.where(c == part, tops, 0.0), 0)
        v = part * BLOCK + tl.arange(0, BLOCK)
        x = _load(logits_ptr, b, v, V, stride, _scale(temperature_ptr, b), floor_ptr, HAS_FLOOR)
        p = tl.exp(x - part_top)
        inner = tl.cumsum(p.to(tl.float64), 0)
        # in the scale of this part, whose exact sum differs a little from the one taken before
        inside = (point - before) / share * tl.max(inner, 0)
        at = tl.sum((inner <= inside).to(tl.int32), 0)
        last = tl.max(tl.where(p > 0, tl.arange(0, BLOCK), 0), 0)
        at = tl.minimum(at, last)
        chosen = part * BLOCK + at
        value = tl.sum(tl.where(tl.arange(0, BLOCK) == at, x, 0.0), 0)
    else:
        chosen = tl.sum(tl.where(c == first, bests, 0), 0)
        value = top
    logprob = value - lse
    is_finite = (mass > 0) & (mass < float("inf")) & (logprob <= 0.001) & (logprob > -float("inf"))
    chosen = tl.where(is_finite, chosen, 0)
    tl.store(id_ptr + b, chosen)
    tl.store(logprob_ptr + b, tl.where(is_finite, tl.minimum(logprob, 0.0), float("nan")))
    if HAS_SLOTS:
        tl.store(newest_ptr + tl.load(slot_ptr + b), chosen)


@triton.jit
def _key(x):
    """An int32 that orders like the float32, -0 below 0."""
    bits = x.to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


@triton.jit
def _weight(
    logits_ptr, b, V, stride, scale, top, low, COUNTS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Number of logits whose key is at least `low`, or their sum of exp(x - top)."""
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, V, BLOCK):
        v = start + tl.arange(0, BLOCK)
        x = tl.load(logits_ptr + b.to(tl.int64) * stride + v, mask=v < V, other=-float("inf"))
        x = x.to(tl.float32) * scale
        counted = (v < V) & (_key(x) >= low)
        total += counted.to(tl.float32) if COUNTS else tl.where(counted, tl.exp(x - top), 0.0)
    return tl.sum(total.to(tl.float64), 0)


@triton.jit
def floor_kernel(
    logits_ptr, temperature_ptr, min_p_ptr, top_k_ptr, top_p_ptr, floor_ptr, V, stride,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """The least scaled logit that min-p, top-k and top-p keep, in this order; -inf keeps all.

    Program (b). Each bound is found bit by bit in the ordered integers, without sorting; logits equal
    to the bound are all kept.
    """
    b = tl.program_id(0)
    scale = _scale(temperature_ptr, b)
    highest = tl.full([BLOCK], -float("inf"), tl.float32)
    for start in range(0, V, BLOCK):
        v = start + tl.arange(0, BLOCK)
        x = tl.load(logits_ptr + b.to(tl.int64) * stride + v, mask=v < V, other=-float("inf"))
        highest = tl.maximum(highest, x.to(tl.float32) * scale)
    top = tl.max(highest, 0)
    floor = tl.full([], -float("inf"), tl.float32)
    is_drawn = tl.load(temperature_ptr + b) > 0
    min_p = tl.load(min_p_ptr + b)
    if is_drawn & (min_p > 0):
        floor = top + tl.log(min_p)
    low = _key(floor)
    top_k = tl.load(top_k_ptr + b)
    if is_drawn & (top_k > 0) & (top_k < V):
        # the highest key that at least top_k logits reach
        wanted = top_k.to(tl.float64)
        bound, beyond = low.to(tl.int64), _key(top).to(tl.int64) + 1
        while beyond - bound > 1:
            middle = (bound + beyond) >> 1
            many = _weight(logits_ptr, b, V, stride, scale, top, middle.to(tl.int32), True, BLOCK)
            bound = tl.where(many >= wanted, middle, bound)
            beyond = tl.where(many >= wanted, beyond, middle)
        low = bound.to(tl.int32)
    top_p = tl.load(top_p_ptr + b)
    if is_drawn & (top_p < 1):
        mass = _weight(logits_ptr, b, V, stride, scale, top, low, False, BLOCK)
        wanted = mass * top_p.to(tl.float64)
        bound, beyond = low.to(tl.int64), _key(top).to(tl.int64) + 1
        while beyond - bound > 1:
            middle = (bound + beyond) >> 1
            many = _weight(logits_ptr, b, V, stride, scale, top, middle.to(tl.int32), False, BLOCK)
            bound = tl.where(many >= wanted, middle, bound)
            beyond = tl.where(many >= wanted, beyond, middle)
        low = bound.to(tl.int32)
    bits = tl.where(low < 0, low ^ 0x7FFFFFFF, low)
    tl.store(floor_ptr + b, bits.to(tl.float32, bitcast=True))
