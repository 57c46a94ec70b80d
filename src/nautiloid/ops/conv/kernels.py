# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false
# ruff: noqa: RUF005, SIM102 - kernels know neither starred tuples nor a mix of static and dynamic tests
"""GPU kernels of the causal convolution with SiLU: each program walks down the tokens of one chunk.

A program owns BLOCK_C channels of one chunk of CHUNK tokens and keeps the last K - 1 rows in
registers, so that every row is read once; the next ROWS rows are under way while the present ones
are computed. Row strides are known to the compiler: a row is an offset inside the instruction. The
backward recomputes the value before the SiLU.

Suffixes: T tokens, C channels, K taps, S sequences, Z chunks.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nautiloid.ops.device_math import sigmoid


@triton.jit
def _read(at, t, end, is_channel, ROW: tl.constexpr, ROWS: tl.constexpr):
    """Rows t .. t + ROWS - 1, of which `at` is the first, as a tuple; zeros at and past `end`."""
    rows = ()
    for i in tl.static_range(ROWS):
        rows = rows + (tl.load(at + i * ROW, mask=is_channel & (t + i < end), other=0.0),)
    return rows


@triton.jit
def _before(
    x_TC,
    initial_SLC,
    s,
    a,
    begin,
    row,
    C,
    c,
    is_channel,
    K: tl.constexpr,
    HAS_INITIAL: tl.constexpr,
):
    """The K - 1 rows before token `a`: of the sequence, of its initial context, or zeros."""
    rows = ()
    for j in tl.static_range(K - 1):
        p = a - (K - 1) + j
        value = tl.load(
            x_TC + p.to(tl.int64) * row + c, mask=is_channel & (p >= begin), other=0.0
        ).to(tl.float32)
        if HAS_INITIAL:
            at = initial_SLC + (s * (K - 1) + p - begin + K - 1).to(tl.int64) * C + c
            value += tl.load(at, mask=is_channel & (p < begin), other=0.0).to(tl.float32)
        rows = rows + (value,)
    return rows


@triton.jit
def _weights(
    w_CK, bias_C, c, is_channel, K: tl.constexpr, HAS_BIAS: tl.constexpr, BLOCK_C: tl.constexpr
):
    """Taps as a tuple of K channel vectors, and the bias, in float32."""
    taps = ()
    for k in tl.static_range(K):
        taps = taps + (tl.load(w_CK + c * K + k, mask=is_channel, other=0.0).to(tl.float32),)
    bias = tl.zeros([BLOCK_C], tl.float32)
    if HAS_BIAS:
        bias = tl.load(bias_C + c, mask=is_channel, other=0.0).to(tl.float32)
    return taps, bias


@triton.jit
def _d_silu(x, FAST: tl.constexpr):
    gate = sigmoid(x, FAST)
    y = x * gate
    return y + gate - y * gate


@triton.jit
def conv_silu_forward(
    x_TC,
    w_CK,
    bias_C,
    initial_SLC,
    y_TC,
    last_SLC,
    starts_S,
    table_Z2,
    C,
    X_ROW: tl.constexpr,
    Y_ROW: tl.constexpr,
    K: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_INITIAL: tl.constexpr,
    HAS_LAST: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_C: tl.constexpr,
    ROWS: tl.constexpr,
    FAST: tl.constexpr,
):
    """y = SiLU(conv(x) + bias); `last` holds the last K - 1 inputs of each sequence."""
    z = tl.program_id(1)
    s = tl.load(table_Z2 + 2 * z)
    begin, stop = tl.load(starts_S + s), tl.load(starts_S + s + 1)
    a = begin + tl.load(table_Z2 + 2 * z + 1) * CHUNK
    b = tl.minimum(a + CHUNK, stop)
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    is_channel = c < C
    taps, bias = _weights(w_CK, bias_C, c, is_channel, K, HAS_BIAS, BLOCK_C)
    past = _before(x_TC, initial_SLC, s, a, begin, X_ROW, C, c, is_channel, K, HAS_INITIAL)
    x_at = x_TC + a.to(tl.int64) * X_ROW
    y_at = y_TC + a.to(tl.int64) * Y_ROW
    ahead = _read(x_at + c, a, b, is_channel, X_ROW, ROWS)
    t = a
    while t < b:
        rows = ahead
        x_at += ROWS * X_ROW
        ahead = _read(x_at + c, t + ROWS, b, is_channel, X_ROW, ROWS)
        for i in tl.static_range(ROWS):
            window = past + (rows[i].to(tl.float32),)
            pre = bias
            for k in tl.static_range(K):
                pre += window[k] * taps[k]
            y = pre * sigmoid(pre, FAST)
            y = y.to(y_TC.dtype.element_ty)
            tl.store(y_at + c + i * Y_ROW, y, mask=is_channel & (t + i < b))
            past = window[1:]
        y_at += ROWS * Y_ROW
        t += ROWS
    if HAS_LAST:
        if b == stop:
            tail = _before(x_TC, initial_SLC, s, b, begin, X_ROW, C, c, is_channel, K, HAS_INITIAL)
            for j in tl.static_range(K - 1):
                at = last_SLC + (s * (K - 1) + j).to(tl.int64) * C + c
                tl.store(at, tail[j].to(last_SLC.dtype.element_ty), mask=is_channel)


@triton.jit
def _give_dx(
    at,
    d_last_SLC,
    d_initial_SLC,
    value,
    p,
    s,
    a,
    b,
    begin,
    stop,
    C,
    c,
    is_channel,
    K: tl.constexpr,
    HAS_D_LAST: tl.constexpr,
    HAS_D_INITIAL: tl.constexpr,
):
    """Write the gradient of row p, which is an input of this chunk or a row of the context."""
    if HAS_D_LAST:
        j = p - (stop - (K - 1))
        from_last = d_last_SLC + (s * (K - 1) + j).to(tl.int64) * C + c
        value += tl.load(from_last, mask=is_channel & (j >= 0) & (p < b), other=0.0).to(tl.float32)
    tl.store(at, value.to(at.dtype.element_ty), mask=is_channel & (p >= a) & (p < b))
    if HAS_D_INITIAL:
        to_initial = d_initial_SLC + (s * (K - 1) + p - begin + K - 1).to(tl.int64) * C + c
        tl.store(
            to_initial, value.to(d_initial_SLC.dtype.element_ty), mask=is_channel & (p < begin)
        )


@triton.jit
def conv_silu_backward(
    dy_TC,
    x_TC,
    w_CK,
    bias_C,
    initial_SLC,
    d_last_SLC,
    dx_TC,
    d_initial_SLC,
    partial_ZKC,
    starts_S,
    table_Z2,
    C,
    DY_ROW: tl.constexpr,
    X_ROW: tl.constexpr,
    DX_ROW: tl.constexpr,
    K: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_INITIAL: tl.constexpr,
    HAS_D_LAST: tl.constexpr,
    HAS_D_INITIAL: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_C: tl.constexpr,
    ROWS: tl.constexpr,
    FAST: tl.constexpr,
):
    """dx, the gradient of the context, and this chunk's sums for the taps and the bias.

    The gradient of row p is complete K - 1 rows later, so the walk ends K - 1 rows past the chunk.
    Rows past the end of the sequence read as zeros and add nothing.
    """
    z = tl.program_id(1)
    s = tl.load(table_Z2 + 2 * z)
    begin, stop = tl.load(starts_S + s), tl.load(starts_S + s + 1)
    a = begin + tl.load(table_Z2 + 2 * z + 1) * CHUNK
    b = tl.minimum(a + CHUNK, stop)
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    is_channel = c < C
    taps, bias = _weights(w_CK, bias_C, c, is_channel, K, HAS_BIAS, BLOCK_C)
    past = _before(x_TC, initial_SLC, s, a, begin, X_ROW, C, c, is_channel, K, HAS_INITIAL)
    zero = tl.zeros([BLOCK_C], tl.float32)
    d_past = ()
    sums = (zero,)
    for _ in tl.static_range(K - 1):
        d_past = d_past + (zero,)
        sums = sums + (zero,)
    sum_bias = zero
    x_at = x_TC + a.to(tl.int64) * X_ROW
    dy_at = dy_TC + a.to(tl.int64) * DY_ROW
    dx_at = dx_TC + (a - (K - 1)).to(tl.int64) * DX_ROW
    x_ahead = _read(x_at + c, a, stop, is_channel, X_ROW, ROWS)
    dy_ahead = _read(dy_at + c, a, stop, is_channel, DY_ROW, ROWS)
    t = a
    while t < b:
        rows, dy_rows = x_ahead, dy_ahead
        x_at += ROWS * X_ROW
        dy_at += ROWS * DY_ROW
        x_ahead = _read(x_at + c, t + ROWS, stop, is_channel, X_ROW, ROWS)
        dy_ahead = _read(dy_at + c, t + ROWS, stop, is_channel, DY_ROW, ROWS)
        for i in tl.static_range(ROWS):
            window = past + (rows[i].to(tl.float32),)
            pre = bias
            for k in tl.static_range(K):
                pre += window[k] * taps[k]
            d_pre = dy_rows[i].to(tl.float32) * _d_silu(pre, FAST)
            added = ()
            for k in tl.static_range(K):
                added = added + (sums[k] + d_pre * window[k],)
            sums = added
            sum_bias += d_pre
            d_window = d_past + (d_pre,)
            dx = d_window[0] * taps[K - 1]
            for k in tl.static_range(1, K):
                dx += d_window[k] * taps[K - 1 - k]
            _give_dx(
                dx_at + c + i * DX_ROW, d_last_SLC, d_initial_SLC, dx, t + i - (K - 1), s, a, b, begin, stop,
                C, c, is_channel, K, HAS_D_LAST, HAS_D_INITIAL,
            )  # fmt: skip
            past, d_past = window[1:], d_window[1:]
        dx_at += ROWS * DX_ROW
        t += ROWS
    # the rows after the chunk: their gradient reaches back into it
    for i in tl.static_range(K - 1):
        rows = _read(x_at + i * X_ROW + c, t + i, stop, is_channel, X_ROW, 1)
        dy_rows = _read(dy_at + i * DY_ROW + c, t + i, stop, is_channel, DY_ROW, 1)
        window = past + (rows[0].to(tl.float32),)
        pre = bias
        for k in tl.static_range(K):
            pre += window[k] * taps[k]
        d_window = d_past + (dy_rows[0].to(tl.float32) * _d_silu(pre, FAST),)
        dx = d_window[0] * taps[K - 1]
        for k in tl.static_range(1, K):
            dx += d_window[k] * taps[K - 1 - k]
        _give_dx(
            dx_at + c + i * DX_ROW, d_last_SLC, d_initial_SLC, dx, t + i - (K - 1), s, a, b, begin, stop,
            C, c, is_channel, K, HAS_D_LAST, HAS_D_INITIAL,
        )  # fmt: skip
        past, d_past = window[1:], d_window[1:]
    for k in tl.static_range(K):
        at = partial_ZKC + (z * (K + 1) + k).to(tl.int64) * C + c
        tl.store(at, sums[k], mask=is_channel)
    tl.store(partial_ZKC + (z * (K + 1) + K).to(tl.int64) * C + c, sum_bias, mask=is_channel)


@triton.jit
def conv_silu_sums(
    partial_ZKC,
    dw_CK,
    d_bias_C,
    Z,
    C,
    K: tl.constexpr,
    BLOCK_Z: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Add the chunks' sums in a fixed order; program axis 1 is the tap, the last one the bias."""
    k = tl.program_id(1)
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    is_channel = c < C
    total = tl.zeros([BLOCK_Z, BLOCK_C], tl.float32)
    z = 0
    while z < Z:
        rows = z + tl.arange(0, BLOCK_Z)
        at = partial_ZKC + (rows[:, None] * (K + 1) + k).to(tl.int64) * C + c[None]
        total += tl.load(at, mask=(rows[:, None] < Z) & is_channel[None], other=0.0)
        z += BLOCK_Z
    value = tl.sum(total, 0)
    if k < K:
        tl.store(dw_CK + c * K + k, value, mask=is_channel)
    else:
        tl.store(d_bias_C + c, value, mask=is_channel)
