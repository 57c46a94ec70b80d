# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false
"""GPU kernels of RMSNorm, with or without a residual sum before it, and of the gated group norm.

A row is one token (RMSNorm) or one group of one token. A program holds BLOCK_T rows at a time in
registers and walks down its share of tokens; the next rows are under way while the present ones are
computed. Backward kernels make the norm again from its input and leave one sum of the weight's
gradient a program.

Suffixes: T tokens, D width, W width of a group, P programs.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nautiloid.ops.chain import follow, wait
from nautiloid.ops.device_math import sigmoid


@triton.jit
def _read(x_TD, first, stop, column, is_column, ROW: tl.constexpr, BLOCK_T: tl.constexpr):
    """BLOCK_T rows from `first`; zeros from `stop` on."""
    t = tl.arange(0, BLOCK_T)
    at = x_TD + first.to(tl.int64) * ROW + (t[:, None] * ROW + column[None])
    return tl.load(at, mask=(t[:, None] < stop - first) & is_column[None], other=0.0)


@triton.jit
def _write(y_TD, value, first, stop, column, is_column, ROW: tl.constexpr, BLOCK_T: tl.constexpr):
    t = tl.arange(0, BLOCK_T)
    at = y_TD + first.to(tl.int64) * ROW + (t[:, None] * ROW + column[None])
    mask = (t[:, None] < stop - first) & is_column[None]
    tl.store(at, value.to(y_TD.dtype.element_ty), mask=mask)


@triton.jit
def _weight(w_D, column, is_column):
    """Read again for every row: it stays in the cache, and would fill registers."""
    return tl.load(w_D + column, mask=is_column, other=0.0).to(tl.float32)[None]


@triton.jit
def _add_pair(a, b, c, d):
    return a + c, b + d


@triton.jit
def rms_norm_forward(
    x_TD,
    delta_TD,
    w_D,
    total_TD,
    y_TD,
    T,
    D,
    eps,
    X_ROW: tl.constexpr,
    DELTA_ROW: tl.constexpr,
    TOTAL_ROW: tl.constexpr,
    Y_ROW: tl.constexpr,
    HAS_DELTA: tl.constexpr,
    TOKENS: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_W: tl.constexpr,
    CHAINED: tl.constexpr,
):
    """y = w x / rms(x); with a delta, total = x + delta is written and normalised instead of x."""
    follow(CHAINED)
    column = tl.arange(0, BLOCK_W)
    is_column = column < D
    if CHAINED:
        w = _weight(w_D, column, is_column)
    wait(CHAINED)
    first = tl.program_id(0) * TOKENS
    stop = tl.minimum(first + TOKENS, T)
    x_ahead = _read(x_TD, first, stop, column, is_column, X_ROW, BLOCK_T)
    if HAS_DELTA:
        delta_ahead = _read(delta_TD, first, stop, column, is_column, DELTA_ROW, BLOCK_T)
    while first < stop:
        x = x_ahead.to(tl.float32)
        x_ahead = _read(x_TD, first + BLOCK_T, stop, column, is_column, X_ROW, BLOCK_T)
        if HAS_DELTA:
            # the norm sees the sum as it is stored
            total = (x + delta_ahead.to(tl.float32)).to(total_TD.dtype.element_ty)
            delta_ahead = _read(
                delta_TD, first + BLOCK_T, stop, column, is_column, DELTA_ROW, BLOCK_T
            )
            _write(total_TD, total, first, stop, column, is_column, TOTAL_ROW, BLOCK_T)
            x = total.to(tl.float32)
        r = tl.rsqrt(tl.sum(x * x, 1) / D + eps)
        if not CHAINED:
            w = _weight(w_D, column, is_column)
        y = x * r[:, None] * w
        _write(y_TD, y, first, stop, column, is_column, Y_ROW, BLOCK_T)
        first += BLOCK_T


@triton.jit
def rms_norm_backward(
    dy_TD,
    d_total_TD,
    x_TD,
    w_D,
    dx_TD,
    partial_PD,
    T,
    D,
    eps,
    tokens,
    DY_ROW: tl.constexpr,
    D_TOTAL_ROW: tl.constexpr,
    X_ROW: tl.constexpr,
    DX_ROW: tl.constexpr,
    HAS_D_TOTAL: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """dx of the norm of x, plus the gradient that reaches x past the norm."""
    column = tl.arange(0, BLOCK_W)
    is_column = column < D
    sums = tl.zeros([BLOCK_W], tl.float32)
    first = tl.program_id(0) * tokens
    stop = tl.minimum(first + tokens, T)
    x_ahead = _read(x_TD, first, stop, column, is_column, X_ROW, BLOCK_T)
    dy_ahead = _read(dy_TD, first, stop, column, is_column, DY_ROW, BLOCK_T)
    if HAS_D_TOTAL:
        d_total_ahead = _read(d_total_TD, first, stop, column, is_column, D_TOTAL_ROW, BLOCK_T)
    while first < stop:
        x, dy = x_ahead.to(tl.float32), dy_ahead.to(tl.float32)
        x_ahead = _read(x_TD, first + BLOCK_T, stop, column, is_column, X_ROW, BLOCK_T)
        dy_ahead = _read(dy_TD, first + BLOCK_T, stop, column, is_column, DY_ROW, BLOCK_T)
        dn = dy * _weight(w_D, column, is_column)
        squares, dots = tl.reduce((x * x, dn * x), 1, _add_pair)
        r = tl.rsqrt(squares / D + eps)
        sums += tl.sum(dy * (x * r[:, None]), 0)
        # less the part of dn along the row
        dx = (dn - x * (dots * r * r / D)[:, None]) * r[:, None]
        if HAS_D_TOTAL:
            dx += d_total_ahead.to(tl.float32)
            d_total_ahead = _read(
                d_total_TD, first + BLOCK_T, stop, column, is_column, D_TOTAL_ROW, BLOCK_T
            )
        _write(dx_TD, dx, first, stop, column, is_column, DX_ROW, BLOCK_T)
        first += BLOCK_T
    tl.store(partial_PD + tl.program_id(0).to(tl.int64) * D + column, sums, mask=is_column)


@triton.jit
def gated_norm_forward(
    y_TI,
    z_TI,
    w_I,
    out_TI,
    T,
    W,
    eps,
    Y_ROW: tl.constexpr,
    Z_ROW: tl.constexpr,
    OUT_ROW: tl.constexpr,
    FAST: tl.constexpr,
    TOKENS: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """out = w v / rms(v) of each group, v = y SiLU(z); program axis 0 is the group."""
    local = tl.arange(0, BLOCK_W)
    is_column = local < W
    column = tl.program_id(0) * W + local
    first = tl.program_id(1) * TOKENS
    stop = tl.minimum(first + TOKENS, T)
    y_ahead = _read(y_TI, first, stop, column, is_column, Y_ROW, BLOCK_T)
    z_ahead = _read(z_TI, first, stop, column, is_column, Z_ROW, BLOCK_T)
    while first < stop:
        y, z = y_ahead.to(tl.float32), z_ahead.to(tl.float32)
        y_ahead = _read(y_TI, first + BLOCK_T, stop, column, is_column, Y_ROW, BLOCK_T)
        z_ahead = _read(z_TI, first + BLOCK_T, stop, column, is_column, Z_ROW, BLOCK_T)
        v = y * z * sigmoid(z, FAST)
        r = tl.rsqrt(tl.sum(v * v, 1) / W + eps)
        _write(
            out_TI,
            v * r[:, None] * _weight(w_I, column, is_column),
            first,
            stop,
            column,
            is_column,
            OUT_ROW,
            BLOCK_T,
        )
        first += BLOCK_T


@triton.jit
def gated_norm_backward(
    dout_TI,
    y_TI,
    z_TI,
    w_I,
    dy_TI,
    dz_TI,
    partial_PI,
    T,
    I,
    W,
    eps,
    tokens,
    DOUT_ROW: tl.constexpr,
    Y_ROW: tl.constexpr,
    Z_ROW: tl.constexpr,
    DY_ROW: tl.constexpr,
    DZ_ROW: tl.constexpr,
    FAST: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """Gradients of y, z and this program's sum for the weight."""
    local = tl.arange(0, BLOCK_W)
    is_column = local < W
    column = tl.program_id(0) * W + local
    sums = tl.zeros([BLOCK_W], tl.float32)
    first = tl.program_id(1) * tokens
    stop = tl.minimum(first + tokens, T)
    dout_next = _read(dout_TI, first, stop, column, is_column, DOUT_ROW, BLOCK_T)
    y_next = _read(y_TI, first, stop, column, is_column, Y_ROW, BLOCK_T)
    z_next = _read(z_TI, first, stop, column, is_column, Z_ROW, BLOCK_T)
    ahead = first + BLOCK_T
    dout_ahead = _read(dout_TI, ahead, stop, column, is_column, DOUT_ROW, BLOCK_T)
    y_ahead = _read(y_TI, ahead, stop, column, is_column, Y_ROW, BLOCK_T)
    z_ahead = _read(z_TI, ahead, stop, column, is_column, Z_ROW, BLOCK_T)
    while first < stop:
        dout, y, z = dout_next.to(tl.float32), y_next.to(tl.float32), z_next.to(tl.float32)
        dout_next, y_next, z_next = dout_ahead, y_ahead, z_ahead
        ahead += BLOCK_T
        dout_ahead = _read(dout_TI, ahead, stop, column, is_column, DOUT_ROW, BLOCK_T)
        y_ahead = _read(y_TI, ahead, stop, column, is_column, Y_ROW, BLOCK_T)
        z_ahead = _read(z_TI, ahead, stop, column, is_column, Z_ROW, BLOCK_T)
        gate = sigmoid(z, FAST)
        silu = z * gate
        v = y * silu
        dn = dout * _weight(w_I, column, is_column)
        squares, dots = tl.reduce((v * v, dn * v), 1, _add_pair)
        r = tl.rsqrt(squares / W + eps)
        sums += tl.sum(dout * (v * r[:, None]), 0)
        dv = (dn - v * (dots * r * r / W)[:, None]) * r[:, None]
        _write(dy_TI, dv * silu, first, stop, column, is_column, DY_ROW, BLOCK_T)
        _write(
            dz_TI,
            dv * y * (gate + silu - silu * gate),
            first,
            stop,
            column,
            is_column,
            DZ_ROW,
            BLOCK_T,
        )
        first += BLOCK_T
    tl.store(partial_PI + tl.program_id(1).to(tl.int64) * I + column, sums, mask=is_column)


@triton.jit
def column_sums(
    partial_PD, out_D, P, D, ADD: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_D: tl.constexpr
):
    """Sum of the rows in a fixed order; ADD adds it to what `out` holds."""
    column = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
    is_column = column < D
    total = tl.zeros([BLOCK_P, BLOCK_D], tl.float32)
    p = 0
    while p < P:
        rows = p + tl.arange(0, BLOCK_P)
        at = partial_PD + rows[:, None].to(tl.int64) * D + column[None]
        total += tl.load(at, mask=(rows[:, None] < P) & is_column[None], other=0.0)
        p += BLOCK_P
    value = tl.sum(total, 0)
    if ADD:
        value += tl.load(out_D + column, mask=is_column, other=0.0)
    tl.store(out_D + column, value, mask=is_column)
