"""The Mamba-2 mixer over whole prompts on a CPU: convolution, scan and gated norm in one region.

The scan goes token by token, as decoding does: a head's state stays in the nearest cache, and no
pairwise products of tokens are needed.

Import this only where `ops.compiled.is_available`.

Suffixes: T packed tokens, S sequences, R projected rows, C convolution channels, K taps, H heads,
P head width, G groups, N state size, I inner width = H P.
"""
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numba import carray
from torch import Tensor

from nautiloid.ops.compiled import FAST, Kernel, bits
from nautiloid.ops.intrinsics import (
    LANES,
    barrier,
    floats,
    integers,
    real,
    scan_block,
    share,
    silu32,
    team,
    thread,
)
from nautiloid.ops.jit_target import njit
from nautiloid.ops.mamba.jit import _advance, _gate


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _start(bias, x, weight, u):
    for c in range(len(u)):
        u[c] = bias[c] + x[c] * weight[c]


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _add_tap(x, weight, u):
    for c in range(len(u)):
        u[c] += x[c] * weight[c]


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _silu(u):
    for c in range(len(u)):
        u[c] = silu32(u[c])


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _skip(x, factor, y):
    for i in range(len(y)):
        y[i] = factor * x[i]


@Kernel
def _prefill(p):
    a = carray(p, 23)
    sequences, heads, width, groups, size, taps = a[11], a[12], a[13], a[14], a[15], a[16]
    eps, low, high = real(a[17]), real(a[18]), real(a[19])
    inner, wide = heads * width, heads * width + 2 * groups * size
    starts = carray(integers(a[20]), sequences + 1)
    # first token with a past: 0 where the sequence goes on, else everything before it is zero
    is_new = carray(integers(a[21]), sequences)
    tokens = starts[sequences]
    projected = carray(floats(a[0]), (tokens, inner + wide + heads))
    conv_state = carray(floats(a[1]), (sequences, taps - 1, wide))
    stored = carray(floats(a[2]), (wide, taps))
    # u ends in the taps and the bias of the convolution
    u = carray(floats(a[9]), (tokens + taps + 1, wide))
    conv_weight, conv_bias = u[tokens : tokens + taps], u[tokens + taps]
    given_bias = carray(floats(a[3]), wide)
    dt_bias, a_log, skip = (
        carray(floats(a[4]), heads), carray(floats(a[5]), heads), carray(floats(a[6]), heads)
    )  # fmt: skip
    norm_weight = carray(floats(a[7]), inner)
    state = carray(floats(a[8]), (sequences * heads, width, size))
    y = carray(floats(a[10]), (tokens, inner))
    # step size and decay of each head
    steps = carray(floats(a[22]), (tokens, 2, heads))

    first, last = share(wide, thread(), team())
    for c in range(first, last):
        for k in range(taps):
            conv_weight[k, c] = stored[c, k]
        conv_bias[c] = given_bias[c] if a[3] != 0 else np.float32(0)
    barrier()
    rate = np.empty(heads, np.float64)
    for h in range(heads):
        rate[h] = -math.exp(a_log[h])
    first, last = share(tokens, thread(), team())
    s = 0
    for t in range(first, last):
        while t >= starts[s + 1]:
            s += 1
        at = t - starts[s]
        _start(conv_bias, projected[t, inner : inner + wide], conv_weight[taps - 1], u[t])
        for k in range(taps - 1):
            behind = taps - 1 - k
            if at >= behind:
                _add_tap(projected[t - behind, inner : inner + wide], conv_weight[k], u[t])
            elif is_new[s] == 0:
                _add_tap(conv_state[s, at + k], conv_weight[k], u[t])
        _silu(u[t])
        for h in range(heads):
            raw = float(projected[t, inner + wide + h]) + float(dt_bias[h])
            dt = raw if raw > 20.0 else math.log1p(math.exp(raw))
            dt = min(max(dt, low), high)
            steps[t, 0, h] = np.float32(dt)
            steps[t, 1, h] = np.float32(math.exp(dt * rate[h]))
    barrier()
    is_blocked = width % LANES == 0 and size % LANES == 0
    parts = width // LANES if is_blocked else 1
    across = np.empty((size, LANES), np.float32)
    first, last = share(sequences * heads * parts, thread(), team())
    for unit in range(first, last):
        s, h, part = unit // (heads * parts), unit // parts % heads, unit % parts
        p0, p1 = share(width, part, parts)
        b_at = inner + h * groups // heads * size
        c_at = b_at + groups * size
        block = state[s * heads + h, p0:p1]
        begin, end = starts[s], starts[s + 1]
        if is_blocked:
            for t in range(begin, end):
                _skip(
                    u[t, h * width + p0 : h * width + p1],
                    skip[h],
                    y[t, h * width + p0 : h * width + p1],
                )
            for n in range(size):
                if is_new[s] != 0:
                    across[n, :] = np.float32(0)
                else:
                    across[n, :] = block[:, n]
            row = a[9] + 4 * begin * wide
            for n in range(0, size, LANES):
                scan_block(
                    across.ctypes.data + 4 * LANES * n, row + 4 * (h * width + p0),
                    row + 4 * (b_at + n), row + 4 * (c_at + n), wide,
                    a[22] + 4 * (2 * heads * begin + h), heads,
                    a[10] + 4 * (begin * inner + h * width + p0), inner, end - begin,
                )  # fmt: skip
            for n in range(size):
                block[:, n] = across[n, :]
            continue
        if is_new[s] != 0:
            block[:] = np.float32(0)
        for t in range(begin, end):
            _advance(
                block,
                steps[t, 1, h],
                steps[t, 0, h],
                skip[h],
                u[t, h * width : h * width + width],
                u[t, b_at : b_at + size],
                u[t, c_at : c_at + size],
                y[t, h * width : h * width + width],
            )
    across[0, 0] = 0  # an array lives until its last use, not that of its address
    first, last = share(sequences, thread(), team())
    for s in range(first, last):
        count = starts[s + 1] - starts[s]
        for k in range(taps - 1):
            at = count - (taps - 1) + k
            if at >= 0:
                conv_state[s, k, :] = projected[starts[s] + at, inner : inner + wide]
            elif is_new[s] != 0:
                conv_state[s, k, :] = np.float32(0)
            else:
                conv_state[s, k, :] = conv_state[s, at + taps - 1]
    barrier()
    first, last = share(tokens, thread(), team())
    for t in range(first, last):
        for g in range(groups):
            begin, end = share(inner, g, groups)
            _gate(y[t, begin:end], projected[t, begin:end], norm_weight[begin:end], eps)


def prefill(
    projected_TR: Tensor,
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
    lengths: Sequence[int],
    past: Sequence[int],
) -> Tensor:
    """`lengths` tokens of each sequence; both states are updated in place. All float32, contiguous.

    Args:
        past: Tokens of each sequence before these; the states of one without any are not read.

    Returns:
        [T, I], the input of the output projection.
    """
    S, H, P, N = state_SHPN.shape
    channels, taps = conv_weight_CK.shape
    tokens = projected_TR.shape[0]
    starts = torch.zeros(S + 1, dtype=torch.long)
    starts[1:] = torch.tensor(lengths).cumsum(0)
    is_new = torch.tensor([n == 0 for n in past], dtype=torch.long)
    u = projected_TR.new_empty(tokens + taps + 1, channels)
    y = projected_TR.new_empty(tokens, H * P)
    steps = projected_TR.new_empty(tokens, 2, H)
    low, high = time_step_limit
    _prefill(
        projected_TR.data_ptr(), conv_state_SKC.data_ptr(), conv_weight_CK.data_ptr(),
        0 if conv_bias_C is None else conv_bias_C.data_ptr(), dt_bias_H.data_ptr(), A_log_H.data_ptr(), D_H.data_ptr(),
        norm_weight_I.data_ptr(), state_SHPN.data_ptr(), u.data_ptr(), y.data_ptr(),
        S, H, P, groups, N, taps, bits(eps), bits(low), bits(high), starts.data_ptr(), is_new.data_ptr(),
        steps.data_ptr(),
    )  # fmt: skip
    return y
