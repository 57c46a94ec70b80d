# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false, reportCallIssue=false
"""Triton kernels of one decoding step of the Mamba-2 mixer.

The first kernel updates the state of one head, or of some of its rows, in place. Heads of a group share
the convolution of B and C, so none of its programs may touch the convolution's state; the second
kernel, which gates and normalises a group, shifts it. What the previous kernel does not write is
read before `wait`: the state arrives while the input projection still runs.

Suffixes: b sequence, C convolution channels, K taps, H heads, P head width, G groups, N state size.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nautiloid.ops.chain import follow, wait
from nautiloid.ops.device_math import sigmoid
from nautiloid.ops.rounding import random_bits, round_random, rounding_key, scramble


@triton.jit
def step_size(raw, low, high, IS_CLAMPED: tl.constexpr):
    """clamp(softplus(raw))."""
    e = tl.exp(-tl.abs(raw))
    # log1p(e) for small e, where 1 + e has lost its digits
    tail = tl.where(e < 1e-3, e * (1.0 - e * (0.5 - e * (1.0 / 3))), tl.log(1.0 + e))
    dt = tl.maximum(raw, 0.0) + tail
    if IS_CLAMPED:
        dt = tl.minimum(tl.maximum(dt, low), high)
    return dt


@triton.jit
def tap_weights(weight, channel, mask, K: tl.constexpr, KT: tl.constexpr):
    """Taps of some channels [channels, KT].

    Vectors of a convolution are made as tiles with more elements than a program has threads. For
    smaller ones the compiler takes the layout of the state's rows, where every lane of a warp repeats
    every load.
    """
    k = tl.arange(0, KT)[None, :]
    at = weight + channel[:, None] * K + k
    return tl.load(at, mask=mask[:, None] & (k < K), other=0.0).to(tl.float32)


@triton.jit
def past_inputs(state, channel, mask, C: tl.constexpr, K: tl.constexpr, KT: tl.constexpr):
    """The last K - 1 inputs of some channels, as the first columns of [channels, KT]."""
    k = tl.arange(0, KT)[None, :]
    return tl.load(state + k * C + channel[:, None], mask=mask[:, None] & (k < K - 1), other=0.0)


@triton.jit
def convolve(
    weights,
    inputs,
    row,
    bias,
    channel,
    mask,
    K: tl.constexpr,
    KT: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    FAST: tl.constexpr,
):
    """SiLU of the convolution of some channels, rounded as that of a prefill."""
    k = tl.arange(0, KT)[None, :]
    newest = mask[:, None] & (k == K - 1)
    inputs += tl.load(row + channel[:, None] + 0 * k, mask=newest, other=0.0)
    products = weights * inputs.to(tl.float32)
    if HAS_BIAS:
        products += tl.load(bias + channel[:, None] + 0 * k, mask=newest, other=0.0).to(tl.float32)
    u = tl.sum(products, 1)
    return (u * sigmoid(u, FAST)).to(inputs.dtype)


@triton.jit
def store_state(target, state, mask, key, name, index, ROUNDS: tl.constexpr):
    """Write a state, at random where it is rounded with a key (`rounding.rounding_key`)."""
    DTYPE: tl.constexpr = target.dtype.element_ty
    if ROUNDS:
        bits = random_bits(scramble(name.to(tl.uint32) ^ key), index)
        tl.store(target, round_random(state, bits, DTYPE), mask=mask)
    else:
        tl.store(target, state.to(DTYPE), mask=mask)


@triton.jit(do_not_specialize=["salt"])
def step_states(
    projected,
    conv_state,
    ssm,
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
    ROW: tl.constexpr,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    G: tl.constexpr,
    K: tl.constexpr,
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
    """h = exp(dt A) h + dt x B, y = h C + D x of rows of one head of one sequence."""
    PARTS: tl.constexpr = (P + BP - 1) // BP
    I: tl.constexpr = H * P
    C: tl.constexpr = I + 2 * G * N
    h = tl.program_id(0) // PARTS
    p = (tl.program_id(0) % PARTS) * BP + tl.arange(0, BP)
    n = tl.arange(0, BN)
    b = tl.program_id(1)
    slot = tl.load(slots + b).to(tl.int64)
    name = slot * H + h
    index = p[:, None] * N + n[None, :]
    # a row is never cut when the head is whole
    px = (p < P) | (P % BP == 0)
    pn = (n < N) | (N == BN)
    is_real = px[:, None] & pn[None, :]
    tile = ssm + name * (P * N) + index
    state = tl.load(tile, mask=is_real, other=0.0).to(tl.float32)
    conv_state += slot * ((K - 1) * C)
    of_x = h * P + p
    of_b = I + (h // (H // G)) * N + n
    of_c = of_b + G * N
    weights_x = tap_weights(conv_weight, of_x, px, K, KX)
    weights_b = tap_weights(conv_weight, of_b, pn, K, KN)
    weights_c = tap_weights(conv_weight, of_c, pn, K, KN)
    inputs_x = past_inputs(conv_state, of_x, px, C, K, KX)
    inputs_b = past_inputs(conv_state, of_b, pn, C, K, KN)
    inputs_c = past_inputs(conv_state, of_c, pn, C, K, KN)
    rate = -tl.exp(tl.load(A_log + h).to(tl.float32))
    bias = tl.load(dt_bias + h).to(tl.float32)
    skip = tl.load(D + h).to(tl.float32)
    key = rounding_key(seed, salt, ROUNDS)
    follow(CHAINED)
    wait(CHAINED)
    row = projected + b.to(tl.int64) * ROW
    dt = step_size(tl.load(row + I + C + h).to(tl.float32) + bias, low, high, IS_CLAMPED)
    row += I
    # They pass through memory. Otherwise the compiler lets their layouts spread, and either the whole
    # state changes its layout on the way or every lane of a warp repeats every load.
    mine = own + (b * tl.num_programs(0) + tl.program_id(0)).to(tl.int64) * (BP + 2 * BN)
    x = convolve(weights_x, inputs_x, row, conv_bias, of_x, px, K, KX, HAS_BIAS, FAST)
    tl.store(mine + tl.arange(0, BP), x)
    B = convolve(weights_b, inputs_b, row, conv_bias, of_b, pn, K, KN, HAS_BIAS, FAST)
    tl.store(mine + BP + n, B)
    M = convolve(weights_c, inputs_c, row, conv_bias, of_c, pn, K, KN, HAS_BIAS, FAST)
    tl.store(mine + BP + BN + n, M)
    tl.debug_barrier()
    x = tl.load(mine + tl.arange(0, BP)).to(tl.float32)
    B = tl.load(mine + BP + n).to(tl.float32)
    M = tl.load(mine + BP + BN + n).to(tl.float32)
    state = state * tl.exp(dt * rate) + (dt * x)[:, None] * B[None, :]
    out = tl.sum(state * M[None, :], 1) + skip * x
    tl.store(y + b.to(tl.int64) * I + of_x, out, mask=px)
    store_state(tile, state, is_real, key, name, index, ROUNDS)


@triton.jit
def shift(
    state,
    later,
    later_row,
    count,
    channel,
    mask,
    C: tl.constexpr,
    K: tl.constexpr,
    KT: tl.constexpr,
):
    """Drop the `count` oldest inputs of the convolution and put as many later ones behind the rest."""
    k = tl.arange(0, KT)[:, None]
    source = k + count
    mask = mask[None, :] & (k < K - 1)
    old = tl.load(state + source * C + channel[None, :], mask=mask & (source < K - 1), other=0.0)
    new = later + (source - (K - 1)) * later_row + channel[None, :]
    old += tl.load(new, mask=mask & (source >= K - 1), other=0.0).to(old.dtype)
    # rows move within one tensor
    tl.debug_barrier()
    tl.store(state + k * C + channel[None, :], old, mask=mask)


@triton.jit
def gate(y, z, weight, out, W: tl.constexpr, BW: tl.constexpr, eps, FAST: tl.constexpr):
    """Gated norm of one group of one token."""
    i = tl.arange(0, BW)
    v = tl.load(z + i, mask=i < W, other=0.0).to(tl.float32)
    v = v * sigmoid(v, FAST) * tl.load(y + i, mask=i < W, other=0.0)
    v = v * tl.rsqrt(tl.sum(v * v, 0) / W + eps)
    v = v * tl.load(weight + i, mask=i < W, other=0.0).to(tl.float32)
    tl.store(out + i, v.to(out.dtype.element_ty), mask=i < W)


@triton.jit
def gate_and_shift(
    projected,
    conv_state,
    slots,
    y,
    norm_weight,
    out,
    eps,
    ROW: tl.constexpr,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    G: tl.constexpr,
    K: tl.constexpr,
    KT: tl.constexpr,
    BW: tl.constexpr,
    BN: tl.constexpr,
    FAST: tl.constexpr,
    CHAINED: tl.constexpr,
):
    """Gated norm of one group of one sequence, and the shift of its part of the convolution's state."""
    I: tl.constexpr = H * P
    W: tl.constexpr = I // G
    C: tl.constexpr = I + 2 * G * N
    g = tl.program_id(0)
    b = tl.program_id(1).to(tl.int64)
    slot = tl.load(slots + b).to(tl.int64)
    follow(CHAINED)
    wait(CHAINED)
    row = projected + b * ROW
    at = b * I + g * W
    gate(y + at, row + g * W, norm_weight + g * W, out + at, W, BW, eps, FAST)
    conv_state += slot * ((K - 1) * C)
    i = tl.arange(0, BW)
    n = tl.arange(0, BN)
    shift(conv_state, row + I, 0, 1, g * W + i, i < W, C, K, KT)
    shift(conv_state, row + I, 0, 1, I + g * N + n, n < N, C, K, KT)
    shift(conv_state, row + I, 0, 1, I + (G + g) * N + n, n < N, C, K, KT)
