# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false, reportCallIssue=false
"""Triton kernels of several tokens of which only some will count (`reference.verify`).

The inputs of a sequence are, one after another, the K - 1 rows of the convolution's state, the
accepted pending tokens, and the new tokens. The first kernel walks along them with the state of
one head in registers and stores it where the accepted ones end; the second one, group by group, gates,
moves the convolution's state on and puts the new tokens where the pending ones were.

Suffixes: b sequence, C convolution channels, K taps, H heads, P head width, G groups, N state size,
T new tokens.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nautiloid.ops.chain import follow, wait
from nautiloid.ops.device_math import sigmoid
from nautiloid.ops.mamba.kernels import gate, shift, step_size, store_state, tap_weights
from nautiloid.ops.rounding import rounding_key


@triton.jit
def _convolve(
    weights,
    bias,
    conv_state,
    pending,
    new,
    accepted,
    i,
    channel,
    mask,
    ROW: tl.constexpr,
    C: tl.constexpr,
    WAITING: tl.constexpr,
    K: tl.constexpr,
    KT: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    FAST: tl.constexpr,
):
    """SiLU of the convolution of some channels at input i, counted from the first pending token."""
    k = tl.arange(0, KT)[None, :]
    j = i - (K - 1) + k
    mask = mask[:, None] & (k < K)
    at = channel[:, None]
    v = tl.load(conv_state + (j + K - 1) * C + at, mask=mask & (j < 0), other=0.0)
    is_pending = (j >= 0) & (j < accepted)
    v += tl.load(pending + j * WAITING + at, mask=mask & is_pending, other=0.0)
    v += tl.load(new + (j - accepted) * ROW + at, mask=mask & (j >= accepted) & (j >= 0), other=0.0)
    products = weights * v.to(tl.float32)
    if HAS_BIAS:
        newest = mask & (k == K - 1)
        products += tl.load(bias + at + 0 * k, mask=newest, other=0.0).to(tl.float32)
    u = tl.sum(products, 1)
    return (u * sigmoid(u, FAST)).to(v.dtype)


@triton.jit(do_not_specialize=["salt"])
def walk_states(
    projected,
    accepted,
    conv_state,
    ssm,
    pending,
    slots,
    conv_weight,
    conv_bias,
    dt_bias,
    A_log,
    D,
    y,
    own,
    seed,
    salt,
    low,
    high,
    room,
    ROW: tl.constexpr,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    G: tl.constexpr,
    K: tl.constexpr,
    T: tl.constexpr,
    BP: tl.constexpr,
    BN: tl.constexpr,
    KX: tl.constexpr,
    KN: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    IS_CLAMPED: tl.constexpr,
    ROUNDS: tl.constexpr,
    FAST: tl.constexpr,
    CHAINED: tl.constexpr,
):
    """Commit the accepted pending tokens to the state of one head; outputs of the new tokens.

    `room` is how many tokens of a slot `pending` holds.
    """
    PARTS: tl.constexpr = (P + BP - 1) // BP
    I: tl.constexpr = H * P
    C: tl.constexpr = I + 2 * G * N
    WAITING: tl.constexpr = C + H
    h = tl.program_id(0) // PARTS
    p = (tl.program_id(0) % PARTS) * BP + tl.arange(0, BP)
    n = tl.arange(0, BN)
    b = tl.program_id(1)
    slot = tl.load(slots + b).to(tl.int64)
    count = tl.load(accepted + b)
    name = slot * H + h
    index = p[:, None] * N + n[None, :]
    px = (p < P) | (P % BP == 0)
    pn = (n < N) | (N == BN)
    is_real = px[:, None] & pn[None, :]
    tile = ssm + name * (P * N) + index
    state = tl.load(tile, mask=is_real, other=0.0).to(tl.float32)
    conv_state += slot * ((K - 1) * C)
    pending += slot * room * WAITING
    new = projected + b.to(tl.int64) * T * ROW + I
    of_x = h * P + p
    of_b = I + (h // (H // G)) * N + n
    of_c = of_b + G * N
    weights_x = tap_weights(conv_weight, of_x, px, K, KX)
    weights_b = tap_weights(conv_weight, of_b, pn, K, KN)
    weights_c = tap_weights(conv_weight, of_c, pn, K, KN)
    rate = -tl.exp(tl.load(A_log + h).to(tl.float32))
    bias = tl.load(dt_bias + h).to(tl.float32)
    skip = tl.load(D + h).to(tl.float32)
    key = rounding_key(seed, salt, ROUNDS)
    SIZE: tl.constexpr = BP + 2 * BN
    mine = own + (b * tl.num_programs(0) + tl.program_id(0)).to(tl.int64) * ((room + T) * SIZE)
    follow(CHAINED)
    wait(CHAINED)
    for i in range(count + T):
        is_new = i >= count
        if i == count and count > 0:
            # the accepted tokens are in
            store_state(tile, state, is_real, key, name, index, ROUNDS)
        x = _convolve(
            weights_x, conv_bias, conv_state, pending, new, count, i, of_x, px, ROW, C, WAITING, K, KX,
            HAS_BIAS, FAST,
        )  # fmt: skip
        B = _convolve(
            weights_b, conv_bias, conv_state, pending, new, count, i, of_b, pn, ROW, C, WAITING, K, KN,
            HAS_BIAS, FAST,
        )  # fmt: skip
        M = _convolve(
            weights_c, conv_bias, conv_state, pending, new, count, i, of_c, pn, ROW, C, WAITING, K, KN,
            HAS_BIAS, FAST,
        )  # fmt: skip
        # through memory for the sake of layouts, as in `kernels.step_states`
        tl.store(mine + tl.arange(0, BP), x)
        tl.store(mine + BP + n, B)
        tl.store(mine + BP + BN + n, M)
        tl.debug_barrier()
        x = tl.load(mine + tl.arange(0, BP)).to(tl.float32)
        B = tl.load(mine + BP + n).to(tl.float32)
        M = tl.load(mine + BP + BN + n).to(tl.float32)
        mine += SIZE
        raw = tl.load(pending + i * WAITING + C + h, mask=i < count, other=0.0)
        raw += tl.load(new + (i - count) * ROW + C + h, mask=is_new, other=0.0)
        dt = step_size(raw.to(tl.float32) + bias, low, high, IS_CLAMPED)
        state = state * tl.exp(dt * rate) + (dt * x)[:, None] * B[None, :]
        if is_new:
            out = tl.sum(state * M[None, :], 1) + skip * x
            tl.store(y + (b.to(tl.int64) * T + i - count) * I + of_x, out, mask=px)
    if T == 0 and count > 0:
        store_state(tile, state, is_real, key, name, index, ROUNDS)


@triton.jit
def gate_and_keep(
    projected,
    accepted,
    conv_state,
    pending,
    slots,
    y,
    norm_weight,
    out,
    eps,
    room,
    ROW: tl.constexpr,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    G: tl.constexpr,
    K: tl.constexpr,
    T: tl.constexpr,
    KT: tl.constexpr,
    BW: tl.constexpr,
    BN: tl.constexpr,
    BH: tl.constexpr,
    FAST: tl.constexpr,
    CHAINED: tl.constexpr,
):
    """Gated norm of one group of a sequence's new tokens; they become its pending ones."""
    I: tl.constexpr = H * P
    W: tl.constexpr = I // G
    C: tl.constexpr = I + 2 * G * N
    WAITING: tl.constexpr = C + H
    g = tl.program_id(0)
    b = tl.program_id(1).to(tl.int64)
    slot = tl.load(slots + b).to(tl.int64)
    count = tl.load(accepted + b)
    follow(CHAINED)
    wait(CHAINED)
    conv_state += slot * ((K - 1) * C)
    pending += slot * room * WAITING
    i = tl.arange(0, BW)
    n = tl.arange(0, BN)
    of_b = I + g * N + n
    shift(conv_state, pending, WAITING, count, g * W + i, i < W, C, K, KT)
    shift(conv_state, pending, WAITING, count, of_b, n < N, C, K, KT)
    shift(conv_state, pending, WAITING, count, of_b + G * N, n < N, C, K, KT)
    # the pending tokens were read above
    tl.debug_barrier()
    h = g * (H // G) + tl.arange(0, BH)
    is_head = tl.arange(0, BH) < H // G
    row = projected + b * T * ROW
    at = b * T * I + g * W
    for _ in range(T):
        gate(y + at, row + g * W, norm_weight + g * W, out + at, W, BW, eps, FAST)
        row += I
        tl.store(pending + g * W + i, tl.load(row + g * W + i, mask=i < W), mask=i < W)
        tl.store(pending + of_b, tl.load(row + of_b, mask=n < N), mask=n < N)
        tl.store(pending + of_b + G * N, tl.load(row + of_b + G * N, mask=n < N), mask=n < N)
        tl.store(pending + C + h, tl.load(row + C + h, mask=is_head), mask=is_head)
        row += ROW - I
        pending += WAITING
        at += I
