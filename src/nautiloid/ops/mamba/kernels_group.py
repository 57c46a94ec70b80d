# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false, reportCallIssue=false
"""One decoding step of the Mamba-2 mixer for batches that fill a GPU.

A program takes some heads of one group of one sequence: it forms their convolution once and walks over
the states with the next ones on the way. With all heads of the group it also shifts the convolution's
state, gates and normalises; otherwise `kernels.gate_and_shift` does.

Suffixes: b sequence, C convolution channels, K taps, H heads, P head width, G groups, N state size.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nautiloid.ops.chain import follow, wait
from nautiloid.ops.mamba.kernels import (
    convolve,
    gate,
    past_inputs,
    shift,
    step_size,
    store_state,
    tap_weights,
)
from nautiloid.ops.prefetch import prefetch
from nautiloid.ops.rounding import rounding_key


@triton.jit
def _channels(
    conv_state,
    weight,
    bias,
    row,
    to,
    channel,
    mask,
    C: tl.constexpr,
    K: tl.constexpr,
    KT: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    FAST: tl.constexpr,
):
    """Convolution of some channels to `to`."""
    weights = tap_weights(weight, channel, mask, K, KT)
    inputs = past_inputs(conv_state, channel, mask, C, K, KT)
    u = convolve(weights, inputs, row, bias, channel, mask, K, KT, HAS_BIAS, FAST)
    tl.store(to, u)


@triton.jit(do_not_specialize=["salt"])
def step_group(
    projected,
    conv_state,
    ssm,
    slots,
    conv_weight,
    conv_bias,
    dt_bias,
    A_log,
    D,
    norm_weight,
    y,
    own,
    out,
    seed,
    salt,
    low,
    high,
    eps,
    ROW: tl.constexpr,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    G: tl.constexpr,
    K: tl.constexpr,
    BP: tl.constexpr,
    BN: tl.constexpr,
    BW: tl.constexpr,
    SPAN: tl.constexpr,
    KX: tl.constexpr,
    KN: tl.constexpr,
    KT: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    IS_CLAMPED: tl.constexpr,
    ROUNDS: tl.constexpr,
    STAGES: tl.constexpr,
    AHEAD: tl.constexpr,
    FAST: tl.constexpr,
    CHAINED: tl.constexpr,
):
    """A step for `SPAN` heads of one sequence; BW covers their channels."""
    PARTS: tl.constexpr = (P + BP - 1) // BP
    HEADS: tl.constexpr = H // G
    I: tl.constexpr = H * P
    W: tl.constexpr = SPAN * P
    C: tl.constexpr = I + 2 * G * N
    first = tl.program_id(0) * SPAN
    g = first // HEADS
    b = tl.program_id(1)
    slot = tl.load(slots + b).to(tl.int64)
    conv_state += slot * ((K - 1) * C)
    i = tl.arange(0, BW)
    n = tl.arange(0, BN)
    px = (i < W) | (W == BW)
    pn = (n < N) | (N == BN)
    of_x = first * P + i
    of_b = I + g * N + n
    of_c = of_b + G * N
    key = rounding_key(seed, salt, ROUNDS)
    follow(CHAINED)
    if CHAINED and AHEAD > 0:
        # the first states, while the kernel before this one still runs
        ahead = ssm + (slot * H + first) * (P * N) + tl.arange(0, 128) * (AHEAD // 128)
        prefetch(ahead, AHEAD // 128 * (ssm.dtype.element_ty.primitive_bitwidth // 8))
    wait(CHAINED)
    row = projected + b.to(tl.int64) * ROW
    xbc = row + I
    mine = own + (b * tl.num_programs(0) + tl.program_id(0)).to(tl.int64) * (BW + 2 * BN)
    _channels(conv_state, conv_weight, conv_bias, xbc, mine + i, of_x, px, C, K, KX, HAS_BIAS, FAST)
    _channels(
        conv_state, conv_weight, conv_bias, xbc, mine + BW + n, of_b, pn, C, K, KN, HAS_BIAS, FAST
    )
    _channels(
        conv_state,
        conv_weight,
        conv_bias,
        xbc,
        mine + BW + BN + n,
        of_c,
        pn,
        C,
        K,
        KN,
        HAS_BIAS,
        FAST,
    )
    # through memory for the sake of layouts, as in `kernels.step_states`
    tl.debug_barrier()
    if SPAN == HEADS:
        shift(conv_state, xbc, 0, 1, of_x, px, C, K, KT)
        shift(conv_state, xbc, 0, 1, of_b, pn, C, K, KT)
        shift(conv_state, xbc, 0, 1, of_c, pn, C, K, KT)
    B = tl.load(mine + BW + n).to(tl.float32)
    M = tl.load(mine + BW + BN + n).to(tl.float32)
    at = b.to(tl.int64) * I + first * P
    y += at
    for j in tl.range(0, SPAN * PARTS, num_stages=STAGES):
        h = first + j // PARTS
        p = (j % PARTS) * BP + tl.arange(0, BP)
        name = slot * H + h
        index = p[:, None] * N + n[None, :]
        is_row = (p < P) | (P % BP == 0)
        is_real = is_row[:, None] & pn[None, :]
        tile = ssm + name * (P * N) + index
        state = tl.load(tile, mask=is_real, other=0.0).to(tl.float32)
        x = tl.load(mine + j // PARTS * P + p, mask=is_row, other=0.0).to(tl.float32)
        rate = -tl.exp(tl.load(A_log + h).to(tl.float32))
        raw = tl.load(row + I + C + h).to(tl.float32) + tl.load(dt_bias + h).to(tl.float32)
        dt = step_size(raw, low, high, IS_CLAMPED)
        state = state * tl.exp(dt * rate) + (dt * x)[:, None] * B[None, :]
        total = tl.sum(state * M[None, :], 1) + tl.load(D + h).to(tl.float32) * x
        tl.store(y + j // PARTS * P + p, total, mask=is_row)
        store_state(tile, state, is_real, key, name, index, ROUNDS)
    if SPAN == HEADS:
        tl.debug_barrier()
        gate(y, row + first * P, norm_weight + first * P, out + at, W, BW, eps, FAST)
