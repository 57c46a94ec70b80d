"""One decoding step of the Mamba-2 mixer on a CPU: convolution, scan and gated norm in one region.

Import this only where `ops.compiled.is_available`.

Suffixes: S sequences, R projected rows, C convolution channels, K taps, H heads, P head width,
G groups, N state size, I inner width = H P.
"""
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import math

import numpy as np
from numba import carray
from torch import Tensor

from nautiloid.ops.compiled import FAST, Kernel, bits
from nautiloid.ops.intrinsics import barrier, floats, real, share, silu32, team, thread
from nautiloid.ops.jit_target import njit

# Slices start at 0: an index that might be negative keeps a loop from being vectorised.


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _convolve(x, state, weight, bias, u):
    """SiLU of the convolution of some channels [C]; shifts the state [K-1, C]."""
    taps, channels = weight.shape
    for c in range(channels):
        u[c] = bias[c] + x[c] * weight[taps - 1, c]
    for k in range(taps - 1):
        for c in range(channels):
            u[c] += state[k, c] * weight[k, c]
    for c in range(channels):
        u[c] = silu32(u[c])
    for k in range(taps - 2):
        for c in range(channels):
            state[k, c] = state[k + 1, c]
    for c in range(channels):
        state[taps - 2, c] = x[c]


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _advance(state, decay, dt, skip, x, B, C, y):
    """State [P, N] and output [P] of one head of one sequence."""
    width, size = state.shape
    for p in range(width):
        row = state[p]
        step = dt * x[p]
        total = np.float32(0)
        for n in range(size):
            h = row[n] * decay + step * B[n]
            row[n] = h
            total += h * C[n]
        y[p] = total + skip * x[p]


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _gate(y, z, weight, eps):
    """Gated norm of one group [I / G], in place."""
    total = np.float32(0)
    for i in range(len(y)):
        y[i] *= silu32(z[i])
    for i in range(len(y)):
        total += y[i] * y[i]
    scale = np.float32(1.0 / math.sqrt(total / len(y) + eps))
    for i in range(len(y)):
        y[i] *= scale * weight[i]


@Kernel
def _step(p):
    a = carray(p, 22)
    sequences, heads, width, groups, size, taps = a[11], a[12], a[13], a[14], a[15], a[16]
    eps, low, high = real(a[17]), real(a[18]), real(a[19])
    inner, wide = heads * width, heads * width + 2 * groups * size
    projected = carray(floats(a[0]), (sequences, inner + wide + heads))
    conv_state = carray(floats(a[1]), (sequences, taps - 1, wide))
    stored = carray(floats(a[2]), (wide, taps))
    conv_weight = carray(floats(a[21]), (taps, wide))
    # u ends in a row of zeros for a convolution without bias
    conv_bias = carray(floats(a[3] if a[3] != 0 else a[9] + 4 * sequences * wide), wide)
    dt_bias, a_log, skip = (
        carray(floats(a[4]), heads), carray(floats(a[5]), heads), carray(floats(a[6]), heads)
    )  # fmt: skip
    norm_weight = carray(floats(a[7]), inner)
    state = carray(floats(a[8]), (sequences * heads, width, size))
    u = carray(floats(a[9]), (sequences, wide))
    y = carray(floats(a[10]), (sequences, inner))

    first, last = share(wide, thread(), team())
    for c in range(first, last):
        for k in range(taps):
            conv_weight[k, c] = stored[c, k]
        if a[3] == 0:
            conv_bias[c] = 0
    barrier()
    # blocks of channels, a few for each sequence, so that one sequence keeps all threads busy
    blocks = a[20]
    first, last = share(sequences * blocks, thread(), team())
    for unit in range(first, last):
        s, block = unit // blocks, unit % blocks
        begin, end = share(wide, block, blocks)
        _convolve(
            projected[s, inner + begin : inner + end],
            conv_state[s, :, begin:end],
            conv_weight[:, begin:end],
            conv_bias[begin:end],
            u[s, begin:end],
        )
    barrier()
    first, last = share(sequences * heads, thread(), team())
    for unit in range(first, last):
        s, h = unit // heads, unit % heads
        raw = float(projected[s, inner + wide + h]) + float(dt_bias[h])
        dt = raw if raw > 20.0 else math.log1p(math.exp(raw))
        dt = min(max(dt, low), high)
        decay = np.float32(math.exp(-dt * math.exp(a_log[h])))
        b_at = inner + h * groups // heads * size
        c_at = b_at + groups * size
        begin = h * width
        _advance(
            state[unit],
            decay,
            np.float32(dt),
            skip[h],
            u[s, begin : begin + width],
            u[s, b_at : b_at + size],
            u[s, c_at : c_at + size],
            y[s, begin : begin + width],
        )
    barrier()
    first, last = share(sequences * groups, thread(), team())
    for unit in range(first, last):
        s, g = unit // groups, unit % groups
        begin, end = share(inner, g, groups)
        _gate(y[s, begin:end], projected[s, begin:end], norm_weight[begin:end], eps)


def step(
    projected_SR: Tensor,
    conv_state_SKC: Tensor,
    conv_weight_CK: Tensor,
    conv_bias_C: Tensor | None,
    dt_bias_H: Tensor,
    A_log_H: Tensor,
    D_H: Tensor,
    norm_weight_I: Tensor,
    state_SHPN: Tensor,
    groups: int,
    eps: float,
    time_step_limit: tuple[float, float],
) -> Tensor:
    """One token of each sequence; both states are updated in place. All tensors float32, contiguous.

    Returns:
        [S, I], the input of the output projection.
    """
    S, H, P, N = state_SHPN.shape
    channels, taps = conv_weight_CK.shape
    u = projected_SR.new_empty(S + 1, channels)
    across = projected_SR.new_empty(taps, channels)
    y = projected_SR.new_empty(S, H * P)
    low, high = time_step_limit
    _step(
        projected_SR.data_ptr(), conv_state_SKC.data_ptr(), conv_weight_CK.data_ptr(),
        0 if conv_bias_C is None else conv_bias_C.data_ptr(), dt_bias_H.data_ptr(), A_log_H.data_ptr(), D_H.data_ptr(),
        norm_weight_I.data_ptr(), state_SHPN.data_ptr(), u.data_ptr(), y.data_ptr(),
        S, H, P, groups, N, taps, bits(eps), bits(low), bits(high), max(1, 8 // S), across.data_ptr(),
    )  # fmt: skip
    return y
