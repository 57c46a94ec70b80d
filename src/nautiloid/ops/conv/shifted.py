"""Causal depthwise convolution with SiLU as K shifted multiply-adds over one padded buffer.

Suffixes: T tokens, C channels, K taps, S sequences. The buffer holds K-1 context rows before
each sequence, so that no tap needs a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class _Rows:
    """Where token rows sit in the padded buffer."""

    def __init__(self, lengths: Sequence[int], gap: int, device: torch.device):
        self.gap = gap
        self.sequences = len(lengths)
        self.total = sum(lengths) + gap * self.sequences
        self.index: Tensor | None = None
        counts = torch.tensor(list(lengths))
        ends = (counts + gap).cumsum(0)
        gaps = torch.arange(gap)
        self.context = (ends - counts - gap)[:, None] + gaps
        self.lasts = ((ends - gap)[:, None] + gaps).to(device)
        self.context = self.context.flatten().to(device)
        if len(set(lengths)) > 1:
            shift = gap * torch.arange(1, self.sequences + 1)
            index = torch.arange(sum(lengths)) + shift.repeat_interleave(counts)
            source = torch.zeros(self.total, dtype=torch.long)
            source[index] = torch.arange(sum(lengths))
            self.index, self.source = index.to(device), source.to(device)

    def pad(self, x: Tensor, context: Tensor | None) -> Tensor:
        """[T, C] to the buffer, with the given context rows [S, K-1, C] or zeros."""
        if self.index is None:
            out = x.new_empty(self.total, x.shape[1])
            rows = out.view(self.sequences, -1, x.shape[1])
            rows[:, self.gap :] = x.view(self.sequences, -1, x.shape[1])
            rows[:, : self.gap] = 0 if context is None else context
            return out
        out = x.index_select(0, self.source)
        out[self.context] = 0 if context is None else context.reshape(-1, x.shape[1]).to(x.dtype)
        return out

    def take(self, padded: Tensor) -> Tensor:
        """The token rows of the buffer."""
        if self.index is None:
            rows = padded.view(self.sequences, -1, padded.shape[1])[:, self.gap :]
            return rows.reshape(-1, padded.shape[1])
        return padded.index_select(0, self.index)


class _ConvSilu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        context: Tensor | None,
        rows: _Rows,
    ) -> tuple[Tensor, Tensor]:
        taps = weight.shape[1]
        padded = rows.pad(x, context)
        n = rows.total - taps + 1
        # pre[i] belongs to buffer row i + K - 1; rows that end inside a context are dropped by take
        pre = x.new_zeros(rows.total, x.shape[1])
        inner = pre[taps - 1 :]
        w = weight.t().contiguous()
        if bias is not None:
            torch.addcmul(bias, padded[:n], w[0], out=inner)
        else:
            torch.mul(padded[:n], w[0], out=inner)
        for k in range(1, taps):
            inner.addcmul_(padded[k : k + n], w[k])
        ctx.set_materialize_grads(False)
        ctx.rows = rows
        ctx.has_bias = bias is not None
        ctx.has_context = context is not None
        ctx.save_for_backward(padded, pre, w)
        # the last K-1 rows of a sequence, its context included where it is shorter
        return rows.take(F.silu(pre)), padded[rows.lasts]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, d_last: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        padded, pre, w = ctx.saved_tensors
        rows: _Rows = ctx.rows
        taps = w.shape[0]
        n = rows.total - taps + 1
        if dy is None:
            dy = rows.take(torch.zeros_like(pre))
        d_pre = rows.pad(dy, None)
        d_pre = torch.ops.aten.silu_backward(d_pre, pre)
        inner = d_pre[taps - 1 :]
        d_padded = torch.zeros_like(padded)
        dw = torch.empty_like(w)
        for k in range(taps):
            d_padded[k : k + n].addcmul_(inner, w[k])
            dw[k] = (inner * padded[k : k + n]).sum(0)
        if d_last is not None:
            d_padded.index_add_(0, rows.lasts.flatten(), d_last.reshape(-1, dy.shape[1]))
        d_context = None
        if ctx.has_context:
            d_context = d_padded[rows.context].view(rows.sequences, rows.gap, -1)
        return rows.take(d_padded), dw.t(), inner.sum(0) if ctx.has_bias else None, d_context, None


class _UniformConvSilu(torch.autograd.Function):
    """Sequences of one length without context: shifted slices of the input itself, no buffer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, sequences: int) -> Tensor:
        rows = x.unflatten(0, (sequences, -1))
        w = weight.t().contiguous()
        pre = rows * w[-1] if bias is None else torch.addcmul(bias, rows, w[-1])
        for shift in range(1, min(len(w), rows.shape[1])):
            pre[:, shift:].addcmul_(rows[:, :-shift], w[-1 - shift])
        ctx.has_bias = bias is not None
        ctx.save_for_backward(rows, pre, w)
        return F.silu(pre).flatten(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        rows, pre, w = ctx.saved_tensors
        d_pre = torch.ops.aten.silu_backward(dy.reshape(pre.shape), pre)
        dx = d_pre * w[-1]
        dw = torch.zeros_like(w)
        dw[-1] = (d_pre * rows).sum((0, 1))
        for shift in range(1, min(len(w), rows.shape[1])):
            later, earlier = d_pre[:, shift:], rows[:, :-shift]
            dx[:, :-shift].addcmul_(later, w[-1 - shift])
            dw[-1 - shift] = (later * earlier).sum((0, 1))
        d_bias = d_pre.sum((0, 1)) if ctx.has_bias else None
        return dx.flatten(0, 1), dw.t(), d_bias, None


def conv_silu(
    x_TC: Tensor,
    weight_CK: Tensor,
    bias_C: Tensor | None,
    lengths: Sequence[int],
    initial_SLC: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Same contract as `reference.conv_silu`.

    >>> y, last = conv_silu(torch.ones(3, 1), torch.ones(1, 2), None, [3])
    >>> [round(v, 3) for v in y.flatten().tolist()]
    [0.731, 1.762, 1.762]
    """
    gap = weight_CK.shape[1] - 1
    if initial_SLC is None and len(set(lengths)) == 1 and lengths[0] >= gap:
        y = _UniformConvSilu.apply(x_TC, weight_CK, bias_C, len(lengths))
        return y, x_TC.unflatten(0, (len(lengths), -1))[:, -gap:]
    rows = _Rows(lengths, gap, x_TC.device)
    return _ConvSilu.apply(x_TC, weight_CK, bias_C, initial_SLC, rows)


def conv_silu_step(
    state_SLC: Tensor, x_SC: Tensor, weight_KC: Tensor, bias_C: Tensor | None
) -> Tensor:
    """One token of each sequence; `state_SLC` (the last K-1 inputs) is shifted in place.

    >>> state = torch.zeros(1, 1, 1)
    >>> round(conv_silu_step(state, torch.ones(1, 1), torch.ones(2, 1), None).item(), 3)
    0.731
    >>> state.item()
    1.0
    """
    window_SKC = torch.cat([state_SLC, x_SC[:, None].to(state_SLC.dtype)], 1)
    state_SLC.copy_(window_SKC[:, 1:])
    y = (window_SKC * weight_KC).sum(1)
    if bias_C is not None:
        y += bias_C
    return F.silu(y, inplace=True)
