"""Experts for one token: every weight row meets one vector, so each lane multiplies what it loads.

A program loads all weights of its rows into registers at once, before it waits for the kernel before
it wherever it knows which weights these are.

Suffixes: D hidden size, K experts of the token, L expert input width, M expert width, S parts of the
shared expert, each as wide as a routed one.
"""

# pyright: basic, reportMissingImports=false, reportGeneralTypeIssues=false, reportCallIssue=false
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false

import triton
import triton.language as tl

from nautiloid.ops.chain import follow, wait
from nautiloid.ops.linear.kernels import dot_rows, load_rows


@triton.jit
def _activated(h, g, dtype: tl.constexpr, IS_RELU2: tl.constexpr, HAS_GATE: tl.constexpr):
    """`act(h, g)` of sums rounded as in training."""
    h = h.to(dtype).to(tl.float32)
    inner = g.to(dtype).to(tl.float32) if HAS_GATE else h
    if IS_RELU2:
        inner = tl.maximum(inner, 0.0)
        a = inner * inner
    else:
        a = inner * tl.sigmoid(inner)
    return a * h if HAS_GATE else a


@triton.jit
def single_up_kernel(
    x, up, gate, shared_up, shared_gate, weights, experts, act,
    K: tl.constexpr, L: tl.constexpr, M: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr,
    SHARED: tl.constexpr, IS_RELU2: tl.constexpr, HAS_GATE: tl.constexpr, CHAINED: tl.constexpr
):  # fmt: skip
    """act [S + K, M]: the shared expert's activation, then `w act(x W_up^T, x W_gate^T)`."""
    TILES: tl.constexpr = (M + BM - 1) // BM  # pyright: ignore[reportAssignmentType]
    part = tl.program_id(0) // TILES
    m = tl.program_id(0) % TILES * BM + tl.arange(0, BM)
    rows = tl.where(m < M, m, 0)
    g = tl.zeros([BM], tl.float32)
    if part < SHARED:
        up_rows = load_rows(shared_up + (part * M + rows) * L, L, BK)
        if HAS_GATE:
            gate_rows = load_rows(shared_gate + (part * M + rows) * L, L, BK)
        wait(CHAINED)
        # the next kernel reads the choice before its wait, so it may start only after this wait
        follow(CHAINED)
        h = dot_rows(up_rows, x, L, BK)
        if HAS_GATE:
            g = dot_rows(gate_rows, x, L, BK)
        a = _activated(h, g, act.dtype.element_ty, IS_RELU2, HAS_GATE)
    else:
        wait(CHAINED)
        follow(CHAINED)
        first = tl.load(experts + part - SHARED).to(tl.int64) * (M * L)
        w = tl.load(weights + part - SHARED).to(tl.float32)
        up_rows = load_rows(up + first + rows * L, L, BK)
        if HAS_GATE:
            gate_rows = load_rows(gate + first + rows * L, L, BK)
        h = dot_rows(up_rows, x, L, BK)
        if HAS_GATE:
            g = dot_rows(gate_rows, x, L, BK)
        a = w * _activated(h, g, act.dtype.element_ty, IS_RELU2, HAS_GATE)
    tl.store(act + part * M + m, a.to(act.dtype.element_ty), m < M)


@triton.jit
def single_down_kernel(
    act, down, shared_down, experts, out,
    K: tl.constexpr, L: tl.constexpr, M: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr,
    PARTS: tl.constexpr, SHARED: tl.constexpr, CHAINED: tl.constexpr
):  # fmt: skip
    """out [L]: the sum over all parts of `act W_down^T`, in float32 and always in the same order.

    The choice was made two kernels ago, so the weights that it names are loaded ahead of the wait.
    """
    r = tl.arange(0, PARTS * BM)
    part = r // BM
    n = tl.program_id(0) * BM + r % BM
    n = tl.where(n < L, n, 0).to(tl.int64)
    is_routed = (part >= SHARED) & (part < SHARED + K)
    expert = tl.load(experts + tl.where(is_routed, part - SHARED, 0)).to(tl.int64)
    first = down + expert * (M * L) + n * M
    if SHARED > 0:
        # both are one pointer type, and a row is as far from the next as its weight is wide
        first = tl.where(is_routed, first, shared_down + n * (SHARED * M) + part * M)
    has = part < SHARED + K
    w = load_rows(first, M, BK, has)
    follow(CHAINED)
    wait(CHAINED)
    y = dot_rows(w, act, M, BK, tl.where(has, part, 0) * M)
    total = tl.sum(tl.reshape(tl.where(has, y, 0.0), [PARTS, BM]), 0)
    n = tl.program_id(0) * BM + tl.arange(0, BM)
    tl.store(out + n, total.to(out.dtype.element_ty), n < L)
