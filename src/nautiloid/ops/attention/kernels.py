# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false, reportCallIssue=false
"""Triton kernels of attention over pages of keys and values.

The query heads of one key/value head, for all new tokens of a sequence, are the rows of one product.
A long sequence is cut along its keys; how often follows from its own length and from numbers that
are fixed for a batch size, so that one grid serves all lengths.

Suffixes: b sequence, Q query heads, V key/value heads, H head width, T new tokens of each sequence.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton import knobs
from triton.language.extra import libdevice

from nautiloid.ops.chain import follow, wait
from nautiloid.ops.prefetch import prefetch

INTERPRETED = tl.constexpr(knobs.runtime.interpret)


@triton.jit
def _cos_sin(angle):
    """Both, exact also for large angles."""
    if INTERPRETED:
        return tl.cos(angle), tl.sin(angle)
    else:
        return libdevice.cos(angle), libdevice.sin(angle)


@triton.jit
def read_heads(
    source,
    weight,
    inverse,
    eps,
    position,
    column,
    mask,
    H: tl.constexpr,
    HAS_NORM: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Rows of heads [R, H], normalised and rotated as `rms_norm` and `rotate` would, roundings included.

    Args:
        source: Pointers [R, 1] of the first channel of each head.
        position: Of each row [R, 1].
        column: Channels [1, H].
        WIDTH: Rotated channels; 0 for none.
    """
    x = tl.load(source + column, mask=mask, other=0.0)
    dtype = x.dtype
    HALF: tl.constexpr = WIDTH // 2
    partner = column
    if WIDTH > 0:
        partner = tl.where(column < HALF, column + HALF, column - HALF)
        partner = tl.where(column < WIDTH, partner, column)
        other = tl.load(source + partner, mask=mask, other=0.0)
    if HAS_NORM:
        wide = x.to(tl.float32)
        scale = tl.rsqrt(tl.sum(wide * wide, 1) / H + eps)[:, None]
        w = tl.load(weight + column, mask=column < H, other=0.0).to(tl.float32)
        x = (w * (wide * scale)).to(dtype)
        if WIDTH > 0:
            w = tl.load(weight + partner, mask=column < H, other=0.0).to(tl.float32)
            other = (w * (other.to(tl.float32) * scale)).to(dtype)
    if WIDTH > 0:
        is_turned = column < WIDTH
        wave = tl.load(inverse + column % HALF, mask=is_turned, other=0.0)
        cos, sin = _cos_sin(position.to(tl.float32) * wave)
        cos, sin = cos.to(dtype).to(tl.float32), sin.to(dtype).to(tl.float32)
        sin = tl.where(column < HALF, -sin, sin)
        own = (x.to(tl.float32) * cos).to(dtype).to(tl.float32)
        x = (own + (other.to(tl.float32) * sin).to(dtype).to(tl.float32)).to(dtype)
    return x


@triton.jit
def page_row(table, slot, position, table_row, PAGE: tl.constexpr):
    """Row of the page tensors where a token of a slot lies."""
    page = tl.load(table + slot * table_row + position // PAGE).to(tl.int64)
    return page * PAGE + position % PAGE


@triton.jit
def append_rows(
    k,
    v,
    keys,
    values,
    slots,
    past,
    table,
    weight,
    inverse,
    eps,
    table_row,
    K_ROW: tl.constexpr,
    V_ROW: tl.constexpr,
    V: tl.constexpr,
    H: tl.constexpr,
    BV: tl.constexpr,
    BH: tl.constexpr,
    PAGE: tl.constexpr,
    T: tl.constexpr,
    HAS_NORM: tl.constexpr,
    WIDTH: tl.constexpr,
    CHAINED: tl.constexpr,
):
    """Store the keys and values of one new token."""
    x = tl.program_id(0)
    b = x // T
    follow(CHAINED)
    wait(CHAINED)
    slot = tl.load(slots + b).to(tl.int64)
    position = tl.load(past + b) + x % T
    row = page_row(table, slot, position, table_row, PAGE)
    heads = tl.arange(0, BV)[:, None]
    column = tl.arange(0, BH)[None, :]
    mask = (heads < V) & (column < H)
    x = x.to(tl.int64)
    new = read_heads(
        k + x * K_ROW + heads * H, weight, inverse, eps, position, column, mask, H, HAS_NORM, WIDTH
    )
    at = row * (V * H) + heads * H + column
    tl.store(keys + at, new.to(keys.dtype.element_ty), mask=mask)
    new = tl.load(v + x * V_ROW + heads * H + column, mask=mask, other=0.0)
    tl.store(values + at, new.to(values.dtype.element_ty), mask=mask)


@triton.jit
def cut(total, SPLITS: tl.constexpr, LEAST: tl.constexpr, BLOCK: tl.constexpr):
    """Keys a split takes, and how many splits a sequence of so many keys has."""
    wanted = tl.minimum(tl.maximum(total // LEAST, 1), SPLITS)
    size = (total + wanted - 1) // wanted
    size = (size + BLOCK - 1) // BLOCK * BLOCK
    return size, (total + size - 1) // size


@triton.jit
def attend_pages(
    q,
    k,
    v,
    keys,
    values,
    slots,
    past,
    table,
    q_weight,
    k_weight,
    inverse,
    out,
    partial,
    sums,
    eps,
    scale,
    table_row,
    Q_ROW: tl.constexpr,
    K_ROW: tl.constexpr,
    V_ROW: tl.constexpr,
    Q: tl.constexpr,
    V: tl.constexpr,
    H: tl.constexpr,
    BM: tl.constexpr,
    BH: tl.constexpr,
    PAGE: tl.constexpr,
    T: tl.constexpr,
    HAS_NORM: tl.constexpr,
    WIDTH: tl.constexpr,
    FIRST: tl.constexpr,
    SPLITS: tl.constexpr,
    LEAST: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
    CHAINED: tl.constexpr,
):
    """One key/value head of one split of one sequence.

    With one new token a sequence (T = 1) its key and value come from k and v and are stored here, by
    the split that holds its position; with several they are in their pages already.
    """
    SHARE: tl.constexpr = Q // V
    head = tl.program_id(0)
    b = tl.program_id(1)
    # slowest, so that splits that are not there come last
    split = tl.program_id(2)
    slot = tl.load(slots + b).to(tl.int64)
    cached = tl.load(past + b)
    total = cached + T
    size, count = cut(total, SPLITS, LEAST, BLOCK)
    first = split * size
    n = tl.arange(0, BLOCK)
    follow(CHAINED)
    if CHAINED and first < cached:
        # the first keys and values, while the kernel before this one still runs
        ahead = (page_row(table, slot, first, table_row, PAGE) + n) * (V * H) + head * H
        row_bytes: tl.constexpr = H * keys.dtype.element_ty.primitive_bitwidth // 8
        if row_bytes % 16 == 0:
            prefetch(keys + ahead, row_bytes)
            prefetch(values + ahead, row_bytes)
    if first < total:
        # the others need not wait: the first split of each sequence does, and ends the kernel
        wait(CHAINED)
        m = tl.arange(0, BM)
        column = tl.arange(0, BH)
        token = m // SHARE
        heads = head * SHARE + m % SHARE
        in_head = (column < H)[None, :]
        is_row = (m < SHARE * T)[:, None] & in_head
        x = b.to(tl.int64) * T + token
        query = read_heads(
            q + (x * Q_ROW + heads * H)[:, None], q_weight, inverse, eps, (cached + token)[:, None],
            column[None, :], is_row, H, HAS_NORM, WIDTH,
        ).to(keys.dtype.element_ty)  # fmt: skip
        if T == 1:
            known = cached
        else:
            known = total
        end = tl.minimum(first + size, known)
        acc = tl.zeros([BM, BH], tl.float32)
        top = tl.full([BM], -float("inf"), tl.float32)
        weight = tl.zeros([BM], tl.float32)
        keys_h = keys + head * H + column[None, :]
        values_h = values + head * H + column[None, :]
        for start in tl.range(first, end, BLOCK, num_stages=STAGES):
            row = page_row(table, slot, start, table_row, PAGE)
            at = (row + n)[:, None] * (V * H)
            is_key = start + n < end
            if FIRST > 0:
                is_key = is_key & (start + n >= FIRST)
            mask = is_key[:, None] & in_head
            key = tl.load(keys_h + at, mask=mask, other=0.0)
            value = tl.load(values_h + at, mask=mask, other=0.0)
            scores = tl.dot(query, tl.trans(key), input_precision="ieee") * scale
            seen = is_key[None, :]
            if T > 1:
                seen = seen & ((start + n)[None, :] <= (cached + token)[:, None])
            scores = tl.where(seen, scores, -float("inf"))
            highest = tl.maximum(top, tl.max(scores, 1))
            if T > 1 or FIRST > 0:
                # a row may see no key of its first blocks
                highest = tl.where(highest == -float("inf"), 0.0, highest)
            p = tl.exp2(scores - highest[:, None])
            old = tl.exp2(top - highest)
            weight = weight * old + tl.sum(p, 1)
            acc = tl.dot(p.to(value.dtype), value, acc * old[:, None], input_precision="ieee")
            top = highest
        if T == 1 and first + size >= total:
            one = read_heads(
                k + (b.to(tl.int64) * K_ROW + head * H) + tl.zeros([1, 1], tl.int32), k_weight,
                inverse, eps, cached + tl.zeros([1, 1], tl.int32), column[None, :], in_head, H,
                HAS_NORM, WIDTH,
            ).to(keys.dtype.element_ty)  # fmt: skip
            new = tl.load(
                v + b.to(tl.int64) * V_ROW + head * H + column[None, :], mask=in_head, other=0.0
            ).to(values.dtype.element_ty)
            at = page_row(table, slot, cached, table_row, PAGE) * (V * H)
            tl.store(keys_h + at, one, mask=in_head)
            tl.store(values_h + at, new, mask=in_head)
            score = tl.sum(query.to(tl.float32) * one.to(tl.float32), 1) * scale
            highest = tl.maximum(top, score)
            p = tl.exp2(score - highest)
            old = tl.exp2(top - highest)
            weight = weight * old + p
            acc = acc * old[:, None] + p[:, None] * new.to(tl.float32)
            top = highest
        acc = acc / tl.where(weight == 0.0, 1.0, weight)[:, None]
        if count == 1:
            to = out + (x * (Q * H) + heads * H)[:, None] + column[None, :]
            tl.store(to, acc.to(out.dtype.element_ty), mask=is_row)
        else:
            line = (x * SPLITS + split) * Q + heads
            tl.store(partial + line[:, None] * H + column[None, :], acc, mask=is_row)
            tl.store(sums + line, top + tl.log2(weight), mask=m < SHARE * T)


@triton.jit
def join_splits(
    past,
    partial,
    sums,
    out,
    Q: tl.constexpr,
    H: tl.constexpr,
    BH: tl.constexpr,
    BQ: tl.constexpr,
    T: tl.constexpr,
    SPLITS: tl.constexpr,
    LEAST: tl.constexpr,
    BLOCK: tl.constexpr,
    CHAINED: tl.constexpr,
):
    """`BQ` query heads of one token: the mean of its splits, weighted by their sums."""
    x = tl.program_id(1)
    cached = tl.load(past + x // T)
    _, count = cut(cached + T, SPLITS, LEAST, BLOCK)
    follow(CHAINED)
    wait(CHAINED)
    if count > 1:
        s = tl.arange(0, SPLITS)[:, None]
        i = tl.arange(0, BQ * BH)
        head = tl.program_id(0) * BQ + i // BH
        column = i % BH
        is_real = (head < Q) & (column < H)
        mask = (s < count) & is_real[None, :]
        line = (x.to(tl.int64) * SPLITS + s) * Q + head[None, :]
        size = tl.load(sums + line, mask=mask, other=-float("inf"))
        share = tl.exp2(size - tl.where(is_real, tl.max(size, 0), 0.0)[None, :])
        share = share / tl.where(is_real, tl.sum(share, 0), 1.0)[None, :]
        rows = tl.load(partial + line * H + column[None, :], mask=mask, other=0.0)
        # a NaN is kept
        rows = tl.where(share == 0.0, 0.0, rows * share)
        to = out + (x.to(tl.int64) * Q + head) * H + column
        tl.store(to, tl.sum(rows, 0).to(out.dtype.element_ty), mask=is_real)


@triton.jit
def gather_pages(
    keys,
    values,
    slots,
    starts,
    table,
    k_out,
    v_out,
    table_row,
    ROW: tl.constexpr,
    BLOCK_ROW: tl.constexpr,
    PAGE: tl.constexpr,
    ROWS: tl.constexpr,
    FIRST: tl.constexpr,
):
    """Keys and values of one page of a sequence, to where the sequences lie end to end."""
    b = tl.program_id(1)
    start = tl.load(starts + b)
    count = tl.load(starts + b + 1) - start
    first = tl.program_id(0) * PAGE
    if first < count + FIRST:
        slot = tl.load(slots + b).to(tl.int64)
        source = page_row(table, slot, first, table_row, PAGE)
        column = tl.arange(0, BLOCK_ROW)[None, :]
        for i in range(0, PAGE, ROWS):
            n = i + tl.arange(0, ROWS)
            at = first + n - FIRST
            mask = ((n < PAGE) & (at >= 0) & (at < count))[:, None] & (column < ROW)
            old = (source + n)[:, None] * ROW + column
            new = (start + at).to(tl.int64)[:, None] * ROW + column
            k = tl.load(keys + old, mask=mask)
            tl.store(k_out + new, k.to(k_out.dtype.element_ty), mask=mask)
            v = tl.load(values + old, mask=mask)
            tl.store(v_out + new, v.to(v_out.dtype.element_ty), mask=mask)
