"""Linear maps whose weight gradient is added to a float32 sum beside the weight (`ops.main_grad`).

Suffixes: X any leading dims, T tokens, N outputs, D inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nautiloid.ops.linear.gradient import add_product
from nautiloid.ops.main_grad import give, main_grad


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.into, ctx.into_bias = main_grad(weight), main_grad(bias)
        return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, bias = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows = dy.flatten(0, -2)
        if wants_weight:
            add_product(ctx.into, rows, x.flatten(0, -2))
        d_bias = give(rows.sum(0), ctx.into_bias, bias) if wants_bias else None
        return dy @ weight if wants_x else None, None, d_bias


class _Segments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, fused: Tensor, into: list[Tensor], *weights: Tensor) -> Tensor:
        ctx.save_for_backward(x, fused)
        ctx.into = into
        return F.linear(x, fused)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, fused = ctx.saved_tensors
        rows, x_TD = dy.flatten(0, -2), x.flatten(0, -2)
        sizes = [into.shape[0] for into in ctx.into]
        for into, part in zip(ctx.into, rows.split(sizes, 1), strict=True):
            add_product(into, part, x_TD)
        dx = dy @ fused if ctx.needs_input_grad[0] else None
        return dx, *[None] * (len(ctx.needs_input_grad) - 1)


def summed_linear(x_XD: Tensor, weight_ND: Tensor, bias_N: Tensor | None) -> Tensor:
    """`x W^T + b` of a weight with a `main_grad`."""
    return _Linear.apply(x_XD, weight_ND, bias_N)


def summed_segments(
    x_XD: Tensor, fused_ND: Tensor, weights: Sequence[Tensor], fused_sum_ND: Tensor | None
) -> Tensor:
    """All segments as one product; their sums as one too where they are adjacent."""
    parts = [total for w in weights if (total := main_grad(w)) is not None]
    into = parts if fused_sum_ND is None else [fused_sum_ND]
    return _Segments.apply(x_XD, fused_ND, into, *weights)
