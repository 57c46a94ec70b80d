# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false
"""GPU kernels of RMSNorm, with or without a residual sum before it, and of the gated group norm.

A row is one token (RMSNorm) or one group of one token. A program holds BLOCK_T rows at a time in
registers and walks down TOKENS of them; the next rows are under way while the present ones are
computed. Backward kernels make the norm again from its input and leave one sum of the weight's
gradient a program.

Suffixes: T tokens, D width, W width of a group, P programs.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nautiloid.ops.device_math import sigmoid


@triton.jit
def _read(x_TD, t, T, row, column, is_column):
    """BLOCK_T rows from t; zeros past the end."""
    at = x_TD + t[:, None].to(tl.int64) * row + column[None]
    return tl.load(at, mask=(t[:, None] < T) & is_column[None], other=0.0)


@triton.jit
def _write(y_TD, value, t, T, row, column, is_column):
    at = y_TD + t[:, None].to(tl.int64) * row + column[None]
    tl.store(at, value.to(y_TD.dtype.element_ty), mask=(t[:, None] < T) & is_column[None])


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
    x_row,
    delta_row,
    total_row,
    y_row,
    T,
    D,
    eps,
    HAS_DELTA: tl.constexpr,
    TOKENS: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """y = w x / rms(x); with a delta, total = x + delta is written and normalised instead of x."""
    column = tl.arange(0, BLOCK_W)
    is_column = column < D
    w = tl.load(w_D + column, mask=is_column, other=0.0).to(tl.float32)
    first = tl.program_id(0) * TOKENS
    stop = tl.minimum(first + TOKENS, T)
    t = first + tl.arange(0, BLOCK_T)
    x_ahead = _read(x_TD, t, stop, x_row, column, is_column)
    if HAS_DELTA:
        delta_ahead = _read(delta_TD, t, stop, delta_row, column, is_column)
    while first < stop:
        x = x_ahead.to(tl.float32)
        x_ahead = _read(x_TD, t + BLOCK_T, stop, x_row, column, is_column)
        if HAS_DELTA:
            # the norm sees the sum as it is stored
            total = (x + delta_ahead.to(tl.float32)).to(total_TD.dtype.element_ty)
            delta_ahead = _read(delta_TD, t + BLOCK_T, stop, delta_row, column, is_column)
            _write(total_TD, total, t, stop, total_row, column, is_column)
            x = total.to(tl.float32)
        r = tl.rsqrt(tl.sum(x * x, 1) / D + eps)
        _write(y_TD, x * r[:, None] * w[None], t, stop, y_row, column, is_column)
        t += BLOCK_T
        first += BLOCK_T


@triton.jit
def rms_norm_backward(
    dy_TD,
    d_total_TD,
    x_TD,
    w_D,
    dx_TD,
    partial_PD,
    dy_row,
    d_total_row,
    x_row,
    dx_row,
    T,
    D,
    eps,
    HAS_D_TOTAL: tl.constexpr,
    TOKENS: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """dx of the norm of x, plus the gradient that reaches x past the norm."""
    column = tl.arange(0, BLOCK_W)
    is_column = column < D
    w = tl.load(w_D + column, mask=is_column, other=0.0).to(tl.float32)
    sums = tl.zeros([BLOCK_W], tl.float32)
    first = tl.program_id(0) * TOKENS
    stop = tl.minimum(first + TOKENS, T)
    t = first + tl.arange(0, BLOCK_T)
    x_ahead = _read(x_TD, t, stop, x_row, column, is_column)
    dy_ahead = _read(dy_TD, t, stop, dy_row, column, is_column)
    if HAS_D_TOTAL:
        d_total_ahead = _read(d_total_TD, t, stop, d_total_row, column, is_column)
    while first < stop:
        x, dy = x_ahead.to(tl.float32), dy_ahead.to(tl.float32)
        x_ahead = _read(x_TD, t + BLOCK_T, stop, x_row, column, is_column)
        dy_ahead = _read(dy_TD, t + BLOCK_T, stop, dy_row, column, is_column)
        dn = dy * w[None]
        squares, dots = tl.reduce((x * x, dn * x), 1, _add_pair)
        r = tl.rsqrt(squares / D + eps)
        sums += tl.sum(dy * (x * r[:, None]), 0)
        # less the part of dn along the row
        dx = (dn - x * (dots * r * r / D)[:, None]) * r[:, None]
        if HAS_D_TOTAL:
            dx += d_total_ahead.to(tl.float32)
            d_total_ahead = _read(d_total_TD, t + BLOCK_T, stop, d_total_row, column, is_column)
        _write(dx_TD, dx, t, stop, dx_row, column, is_column)
        t += BLOCK_T
        first += BLOCK_T
    tl.store(partial_PD + tl.program_id(0).to(tl.int64) * D + column, sums, mask=is_column)


@triton.jit
def gated_norm_forward(
    y_TI,
    z_TI,
    w_I,
    out_TI,
    y_row,
    z_row,
    out_row,
    T,
    W,
    eps,
    FAST: tl.constexpr,
    TOKENS: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """out = w v / rms(v) of each group, v = y SiLU(z); program axis 0 is the group."""
    local = tl.arange(0, BLOCK_W)
    is_column = local < W
    column = tl.program_id(0) * W + local
    w = tl.load(w_I + column, mask=is_column, other=0.0).to(tl.float32)
    first = tl.program_id(1) * TOKENS
    stop = tl.minimum(first + TOKENS, T)
    t = first + tl.arange(0, BLOCK_T)
    y_ahead = _read(y_TI, t, stop, y_row, column, is_column)
    z_ahead = _read(z_TI, t, stop, z_row, column, is_column)
    while first < stop:
        y, z = y_ahead.to(tl.float32), z_ahead.to(tl.float32)
        y_ahead = _read(y_TI, t + BLOCK_T, stop, y_row, column, is_column)
        z_ahead = _read(z_TI, t + BLOCK_T, stop, z_row, column, is_column)
        v = y * z * sigmoid(z, FAST)
        r = tl.rsqrt(tl.sum(v * v, 1) / W + eps)
        _write(out_TI, v * r[:, None] * w[None], t, stop, out_row, column, is_column)
        t += BLOCK_T
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
    dout_row,
    y_row,
    z_row,
    dy_row,
    dz_row,
    T,
    I,
    W,
    eps,
    FAST: tl.constexpr,
    TOKENS: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """Gradients of y, z and this program's sum for the weight."""
    local = tl.arange(0, BLOCK_W)
    is_column = local < W
    column = tl.program_id(0) * W + local
    w = tl.load(w_I + column, mask=is_column, other=0.0).to(tl.float32)
    sums = tl.zeros([BLOCK_W], tl.float32)
    first = tl.program_id(1) * TOKENS
    stop = tl.minimum(first + TOKENS, T)
    t = first + tl.arange(0, BLOCK_T)
    dout_ahead = _read(dout_TI, t, stop, dout_row, column, is_column)
    y_ahead = _read(y_TI, t, stop, y_row, column, is_column)
    z_ahead = _read(z_TI, t, stop, z_row, column, is_column)
    while first < stop:
        dout, y, z = dout_ahead.to(tl.float32), y_ahead.to(tl.float32), z_ahead.to(tl.float32)
        dout_ahead = _read(dout_TI, t + BLOCK_T, stop, dout_row, column, is_column)
        y_ahead = _read(y_TI, t + BLOCK_T, stop, y_row, column, is_column)
        z_ahead = _read(z_TI, t + BLOCK_T, stop, z_row, column, is_column)
        gate = sigmoid(z, FAST)
        silu = z * gate
        v = y * silu
        dn = dout * w[None]
        squares, dots = tl.reduce((v * v, dn * v), 1, _add_pair)
        r = tl.rsqrt(squares / W + eps)
        sums += tl.sum(dout * (v * r[:, None]), 0)
        dv = (dn - v * (dots * r * r / W)[:, None]) * r[:, None]
        _write(dy_TI, dv * silu, t, stop, dy_row, column, is_column)
        _write(dz_TI, dv * y * (gate + silu - silu * gate), t, stop, dz_row, column, is_column)
        t += BLOCK_T
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
        total += _read(partial_PD, rows, P, D, column, is_column)
        p += BLOCK_P
    value = tl.sum(total, 0)
    if ADD:
        value += tl.load(out_D + column, mask=is_column, other=0.0)
    tl.store(out_D + column, value, mask=is_column)
