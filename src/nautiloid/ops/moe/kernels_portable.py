"""Grouped matrix products and activations for any GPU and any dims, and for Triton's interpreter.

Suffixes: R rows of the padded layout, N columns out, K inner dim, M expert width, P x Q shape of a
weight gradient.
"""

# pyright: basic, reportMissingImports=false, reportGeneralTypeIssues=false, reportCallIssue=false
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false

import triton
import triton.language as tl


@triton.jit
def rows_kernel(
    a, b, out, table, used, N, K, b_expert, b_n, b_k, n_tiles,
    ROWS: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, PRECISION: tl.constexpr
):  # fmt: skip
    """Rows [R, K] times the weight of their expert (strides b_n, b_k) to [R, N].

    One program a tile of the worst case; those beyond the blocks in use leave at once.
    """
    block = tl.program_id(0) // n_tiles
    n = tl.program_id(0) % n_tiles * BN + tl.arange(0, BN)
    if block < tl.load(used):
        first = tl.load(table + 3 * block)
        expert = tl.load(table + 3 * block + 1).to(tl.int64)
        r = tl.arange(0, ROWS)
        has_row = (r < tl.load(table + 3 * block + 2))[:, None]
        row = (first + r).to(tl.int64)[:, None]
        acc = tl.zeros([ROWS, BN], tl.float32)
        for start in range(0, K, BK):
            k = start + tl.arange(0, BK)
            x = tl.load(a + row * K + k[None, :], has_row & (k < K)[None, :], other=0.0)
            where = b + expert * b_expert + k[:, None] * b_k + n[None, :] * b_n
            w = tl.load(where, (k < K)[:, None] & (n < N)[None, :], other=0.0)
            acc = tl.dot(x, w, acc, input_precision=PRECISION)
        tl.store(
            out + row * N + n[None, :], acc.to(out.dtype.element_ty), has_row & (n < N)[None, :]
        )


@triton.jit
def weight_kernel(
    a, b, out, starts, totals, P, Q,
    BP: tl.constexpr, BQ: tl.constexpr, BK: tl.constexpr, PRECISION: tl.constexpr,
    IS_SUM: tl.constexpr
):  # fmt: skip
    """Each expert's a^T b over its rows, [R, P] and [R, Q] to [E, P, Q]; IS_SUM adds to out."""
    e = tl.program_id(0)
    p = tl.program_id(1) * BP + tl.arange(0, BP)
    q = tl.program_id(2) * BQ + tl.arange(0, BQ)
    first = tl.load(starts + e)
    end = first + tl.load(totals + e)
    acc = tl.zeros([BP, BQ], tl.float32)
    for start in range(first, end, BK):
        r = start + tl.arange(0, BK)
        row = r.to(tl.int64)
        x = tl.load(
            a + row[None, :] * P + p[:, None], (r < end)[None, :] & (p < P)[:, None], other=0.0
        )
        y = tl.load(
            b + row[:, None] * Q + q[None, :], (r < end)[:, None] & (q < Q)[None, :], other=0.0
        )
        acc = tl.dot(x, y, acc, input_precision=PRECISION)
    where = out + (e.to(tl.int64) * P + p[:, None]) * Q + q[None, :]
    mask = (p < P)[:, None] & (q < Q)[None, :]
    if IS_SUM:
        acc += tl.load(where, mask, other=0.0)
    tl.store(where, acc.to(out.dtype.element_ty), mask)


@triton.jit
def activate_kernel(
    h, g, weights, out, starts, E, M, IS_RELU2: tl.constexpr, HAS_GATE: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """out = w act(h, g) for the rows in use; see `reference.activate`."""
    rows = tl.load(starts + E)
    first = tl.program_id(0) * ROWS
    if first < rows:
        r = first + tl.arange(0, ROWS)
        c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        mask = (r < rows)[:, None] & (c < M)[None, :]
        where = r.to(tl.int64)[:, None] * M + c[None, :]
        inner = tl.load((g if HAS_GATE else h) + where, mask, other=0.0).to(tl.float32)
        positive = tl.maximum(inner, 0.0)
        act = positive * positive if IS_RELU2 else inner * tl.sigmoid(inner)
        if HAS_GATE:
            act *= tl.load(h + where, mask, other=0.0).to(tl.float32)
        act *= tl.load(weights + r, r < rows, other=0.0)[:, None]
        tl.store(out + where, act.to(out.dtype.element_ty), mask)


@triton.jit
def activate_backward_kernel(
    da, h, g, weights, dh, dg, act_out, dw_parts, starts, E, M, rows_bound,
    IS_RELU2: tl.constexpr, HAS_GATE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """From da: dh, dg, w act again, and each row's part of <act, da>, [column tiles, R]."""
    rows = tl.load(starts + E)
    first = tl.program_id(0) * ROWS
    if first < rows:
        r = first + tl.arange(0, ROWS)
        c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        mask = (r < rows)[:, None] & (c < M)[None, :]
        where = r.to(tl.int64)[:, None] * M + c[None, :]
        d = tl.load(da + where, mask, other=0.0).to(tl.float32)
        inner = tl.load((g if HAS_GATE else h) + where, mask, other=0.0).to(tl.float32)
        w = tl.load(weights + r, r < rows, other=0.0)[:, None]
        if IS_RELU2:
            positive = tl.maximum(inner, 0.0)
            act = positive * positive
            slope = 2.0 * positive
        else:
            gate = tl.sigmoid(inner)
            act = inner * gate
            slope = gate * (1.0 + inner * (1.0 - gate))
        full = act
        if HAS_GATE:
            other = tl.load(h + where, mask, other=0.0).to(tl.float32)
            full = act * other
            tl.store(dg + where, (d * w * other * slope).to(dg.dtype.element_ty), mask)
            tl.store(dh + where, (d * w * act).to(dh.dtype.element_ty), mask)
        else:
            tl.store(dh + where, (d * w * slope).to(dh.dtype.element_ty), mask)
        tl.store(act_out + where, (full * w).to(act_out.dtype.element_ty), mask)
        part = tl.sum(full * d, 1)
        tl.store(dw_parts + tl.program_id(1) * rows_bound + r, part, r < rows)
