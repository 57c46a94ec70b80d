"""Causal convolution with SiLU on a CPU, forward and backward in one pass over memory each.

Weight gradients are summed over fixed blocks of tokens, so that they do not depend on the threads.
Import this only where `ops.compiled.is_available`.

Suffixes: T tokens, C channels, K taps, S sequences, L = K - 1 inputs before each sequence.
"""
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numba import carray
from torch import Tensor
from torch.autograd.function import once_differentiable

from nautiloid.ops.compiled import FAST, Kernel
from nautiloid.ops.intrinsics import barrier, exp32, floats, integers, share, team, thread
from nautiloid.ops.jit_target import njit
from nautiloid.ops.main_grad import give, main_grad
from nautiloid.ops.packing import cu_seqlens

ROWS = 64  # tokens whose weight gradients are summed before all of them


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _add_product(weight, x, out):
    for c in range(len(out)):
        out[c] += weight[c] * x[c]


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _add(x, out):
    for c in range(len(out)):
        out[c] += x[c]


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _silu(pre, out):
    for c in range(len(out)):
        out[c] = pre[c] / (np.float32(1) + exp32(-pre[c]))


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _silu_gradient(pre, dy):
    """dy becomes the gradient of the pre-activation, written over pre."""
    for c in range(len(pre)):
        s = np.float32(1) / (np.float32(1) + exp32(-pre[c]))
        pre[c] = dy[c] * s * (np.float32(1) + pre[c] * (np.float32(1) - s))


# Away from the start of a sequence, with the usual 4 taps, each row takes one pass.


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _forward4(w, bias, x0, x1, x2, x3, y):
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    for c in range(len(y)):
        pre = bias[c] + w0[c] * x0[c] + w1[c] * x1[c] + w2[c] * x2[c] + w3[c] * x3[c]
        y[c] = pre / (np.float32(1) + exp32(-pre))


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _backward4(w, bias, x0, x1, x2, x3, dy, d_pre, sums):
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    d0, d1, d2, d3, db = sums[0], sums[1], sums[2], sums[3], sums[4]
    for c in range(len(dy)):
        pre = bias[c] + w0[c] * x0[c] + w1[c] * x1[c] + w2[c] * x2[c] + w3[c] * x3[c]
        s = np.float32(1) / (np.float32(1) + exp32(-pre))
        d = dy[c] * s * (np.float32(1) + pre * (np.float32(1) - s))
        d_pre[c] = d
        db[c] += d
        d0[c] += d * x0[c]
        d1[c] += d * x1[c]
        d2[c] += d * x2[c]
        d3[c] += d * x3[c]


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _inputs4(w, d0, d1, d2, d3, dx):
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    for c in range(len(dx)):
        dx[c] = w3[c] * d0[c] + w2[c] * d1[c] + w1[c] * d2[c] + w0[c] * d3[c]


@njit(error_model="numpy", forceinline=True)
def _before(x, stride, context, channels, taps, begin, t, back, s):
    """Address of the input `back` tokens before token t of sequence s; 0 when there is none."""
    source = t - back
    if source >= begin:
        return x + 4 * source * stride
    if context == 0:
        return np.int64(0)
    return context + 4 * (s * (taps - 1) + taps - 1 + source - begin) * channels


@njit(error_model="numpy", forceinline=True)
def _add_inputs(weight, x, stride, context, begin, t, s, pre):
    """Adds what the inputs up to token t of sequence s give its value before SiLU."""
    taps, channels = weight.shape
    for k in range(taps):
        source = _before(x, stride, context, channels, taps, begin, t, taps - 1 - k, s)
        if source != 0:
            _add_product(weight[k], carray(floats(source), channels), pre)


@njit(error_model="numpy", forceinline=True)
def _reached(weight, d_pre, t, begin, end, dx):
    """Gradient of the input at t, from the tokens begin..end that it reaches."""
    taps, channels = weight.shape
    dx[:] = 0
    for k in range(taps):
        target = t + taps - 1 - k
        if begin <= target < end:
            _add_product(weight[k], carray(floats(d_pre + 4 * target * channels), channels), dx)


@njit(error_model="numpy", forceinline=True)
def _sequence(starts, t):
    """The sequence of token t."""
    low, high = 0, len(starts) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if starts[middle] <= t:
            low = middle
        else:
            high = middle
    return low


@Kernel
def _forward(p):
    a = carray(p, 10)
    sequences, channels, taps, stride = a[6], a[7], a[8], a[9]
    starts = carray(integers(a[5]), sequences + 1)
    weight = carray(floats(a[1]), (taps, channels))
    bias = carray(floats(a[2]), channels)
    pre = np.empty(channels, np.float32)
    first, last = share(starts[sequences], thread(), team())
    s = _sequence(starts, first)
    for t in range(first, last):
        while t >= starts[s + 1]:
            s += 1
        y = carray(floats(a[4] + 4 * t * channels), channels)
        if taps == 4 and t >= starts[s] + 3:
            x = a[0] + 4 * t * stride
            _forward4(
                weight,
                bias,
                carray(floats(x - 12 * stride), channels),
                carray(floats(x - 8 * stride), channels),
                carray(floats(x - 4 * stride), channels),
                carray(floats(x), channels),
                y,
            )
            continue
        pre[:] = bias
        _add_inputs(weight, a[0], stride, a[3], starts[s], t, s, pre)
        _silu(pre, y)


@Kernel
def _backward(p):
    a = carray(p, 14)
    sequences, channels, taps, stride = a[9], a[10], a[11], a[12]
    starts = carray(integers(a[5]), sequences + 1)
    weight = carray(floats(a[1]), (taps, channels))
    bias = carray(floats(a[2]), channels)
    tokens = starts[sequences]
    first, last = share((tokens + ROWS - 1) // ROWS, thread(), team())
    for block in range(first, last):
        # the last row of a block's sums belongs to the bias
        sums = carray(floats(a[8] + 4 * block * (taps + 1) * channels), (taps + 1, channels))
        sums[:] = 0
        s = _sequence(starts, block * ROWS)
        for t in range(block * ROWS, min(block * ROWS + ROWS, tokens)):
            while t >= starts[s + 1]:
                s += 1
            row = carray(floats(a[7] + 4 * t * channels), channels)
            dy = carray(floats(a[4] + 4 * t * channels), channels)
            if taps == 4 and t >= starts[s] + 3:
                x = a[0] + 4 * t * stride
                _backward4(
                    weight,
                    bias,
                    carray(floats(x - 12 * stride), channels),
                    carray(floats(x - 8 * stride), channels),
                    carray(floats(x - 4 * stride), channels),
                    carray(floats(x), channels),
                    dy,
                    row,
                    sums,
                )
                continue
            row[:] = bias
            _add_inputs(weight, a[0], stride, a[3], starts[s], t, s, row)
            _silu_gradient(row, dy)
            for k in range(taps):
                source = _before(a[0], stride, a[3], channels, taps, starts[s], t, taps - 1 - k, s)
                if source != 0:
                    _add_product(carray(floats(source), channels), row, sums[k])
            _add(row, sums[taps])
    barrier()
    # from a token to those it reached, which are all known now
    first, last = share(tokens, thread(), team())
    s = _sequence(starts, first)
    for t in range(first, last):
        while t >= starts[s + 1]:
            s += 1
        dx = carray(floats(a[6] + 4 * t * channels), channels)
        if taps == 4 and t + 3 < starts[s + 1]:
            d_pre = a[7] + 4 * t * channels
            _inputs4(
                weight,
                carray(floats(d_pre), channels),
                carray(floats(d_pre + 4 * channels), channels),
                carray(floats(d_pre + 8 * channels), channels),
                carray(floats(d_pre + 12 * channels), channels),
                dx,
            )
            continue
        _reached(weight, a[7], t, starts[s], starts[s + 1], dx)
    if a[13] != 0:
        first, last = share(sequences * (taps - 1), thread(), team())
        for unit in range(first, last):
            s, back = unit // (taps - 1), taps - 1 - unit % (taps - 1)
            dx = carray(floats(a[13] + 4 * unit * channels), channels)
            _reached(weight, a[7], starts[s] - back, starts[s], starts[s + 1], dx)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


class _ConvSilu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        context: Tensor | None,
        lengths: tuple[int, ...],
    ) -> Tensor:
        channels, taps = weight.shape
        across = weight.detach().t().contiguous()
        flat = x.new_zeros(channels) if bias is None else bias.detach()
        starts = cu_seqlens(lengths, x.device).long()
        y = x.new_empty(x.shape[0], channels)
        _forward(
            x.data_ptr(), across.data_ptr(), flat.data_ptr(), _address(context), y.data_ptr(),
            starts.data_ptr(), len(lengths), channels, taps, x.stride(0),
        )  # fmt: skip
        ctx.save_for_backward(x, across, flat, context, starts)
        ctx.grads = main_grad(weight), main_grad(bias)
        ctx.weights = weight, bias
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, across, flat, context, starts = ctx.saved_tensors
        taps, channels = across.shape
        dy = dy.contiguous()
        dx, scratch = torch.empty_like(dy), torch.empty_like(dy)
        parts = dy.new_empty(-(-len(dy) // ROWS), taps + 1, channels)
        d_context = None if context is None else torch.empty_like(context)
        _backward(
            x.data_ptr(), across.data_ptr(), flat.data_ptr(), _address(context), dy.data_ptr(),
            starts.data_ptr(), dx.data_ptr(), scratch.data_ptr(), parts.data_ptr(),
            len(starts) - 1, channels, taps, x.stride(0), _address(d_context),
        )  # fmt: skip
        sums = parts.sum(0)
        weight, bias = ctx.weights
        d_weight = give(sums[:taps].t(), ctx.grads[0], weight)
        d_bias = None if bias is None else give(sums[taps], ctx.grads[1], bias)
        return dx, d_weight, d_bias, d_context, None


def conv_silu(
    x_TC: Tensor,
    weight_CK: Tensor,
    bias_C: Tensor | None,
    lengths: Sequence[int],
    initial_SLC: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Same contract as `reference.conv_silu` for float32 rows, strided or not.

    >>> y, last = conv_silu(torch.ones(3, 1), torch.ones(1, 2), None, [3])
    >>> [round(v, 3) for v in y.flatten().tolist()]
    [0.731, 1.762, 1.762]
    """
    y = _ConvSilu.apply(x_TC, weight_CK, bias_C, initial_SLC, tuple(lengths))
    return y, last_inputs(x_TC, weight_CK.shape[1] - 1, lengths, initial_SLC)


def last_inputs(
    x_TC: Tensor, gap: int, lengths: Sequence[int], initial_SLC: Tensor | None
) -> Tensor:
    """The `gap` inputs before what would follow each sequence [S, L, C]."""
    if len(set(lengths)) == 1 and lengths[0] >= gap:
        return x_TC.unflatten(0, (len(lengths), -1))[:, lengths[0] - gap :]
    rows: list[Tensor] = []
    for s, part in enumerate(x_TC.split(list(lengths))):
        if part.shape[0] < gap:
            before = x_TC.new_zeros(gap, x_TC.shape[1]) if initial_SLC is None else initial_SLC[s]
            part = torch.cat([before, part])
        rows.append(part[part.shape[0] - gap :])
    return torch.stack(rows)
