"""Several linear maps of one input, run as one matrix product.

When the segment weights lie one after another in one storage, that storage is used as the fused
weight without a copy; otherwise (sharded or moved parameters) each segment runs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def fused_view(weights: Sequence[Tensor]) -> Tensor | None:
    """The one [sum of rows, columns] tensor that adjacent weights are views of, else None.

    >>> w = torch.arange(6.0).view(3, 2)
    >>> fused_view([w[:1], w[1:]]).shape
    torch.Size([3, 2])
    >>> fused_view([w[:1].clone(), w[1:]]) is None
    True
    """
    first = weights[0]
    address, rows = first.data_ptr(), 0
    for w in weights:
        if w.data_ptr() != address or not w.is_contiguous():
            return None
        address += w.numel() * w.element_size()
        rows += w.shape[0]
    storage = first.untyped_storage()
    if address > storage.data_ptr() + storage.nbytes():
        return None
    shape = (rows, *first.shape[1:])
    return torch.as_strided(first.detach(), shape, first.stride(), first.storage_offset())


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, fused: Tensor, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(x, fused)
        ctx.rows = [w.shape[0] for w in weights]
        return F.linear(x, fused)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, fused = ctx.saved_tensors
        dx = dy @ fused if ctx.needs_input_grad[0] else None
        dw = dy.flatten(0, -2).t() @ x.flatten(0, -2)
        return dx, None, *dw.split(ctx.rows)


def segmented_linear(
    x_XD: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None] | None = None
) -> Tensor:
    """`[x W_1^T + b_1, x W_2^T + b_2, ..]` concatenated on the last dim.

    >>> w = torch.eye(2)
    >>> segmented_linear(torch.tensor([[1.0, 2.0]]), [w[:1], w[1:]]).tolist()
    [[1.0, 2.0]]
    """
    has_bias = biases is not None and biases[0] is not None
    fused = None if has_bias else fused_view(weights)
    if fused is None:
        parts = [
            F.linear(x_XD, w, None if biases is None else biases[i]) for i, w in enumerate(weights)
        ]
        return torch.cat(parts, -1)
    if not torch.is_grad_enabled():
        return F.linear(x_XD, fused)
    return _Fused.apply(x_XD, fused, *weights)
