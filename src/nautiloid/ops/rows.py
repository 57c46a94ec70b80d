"""Moving packed rows into a padded layout and back, with gathers both ways.

Suffixes: T packed rows, R rows of the padded layout.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, source_R: Tensor, index_T: Tensor) -> Tensor:
        ctx.save_for_backward(index_T)
        return x.index_select(0, source_R)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (index_T,) = ctx.saved_tensors
        return dy.index_select(0, index_T), None, None


class _Collect(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, index_T: Tensor) -> Tensor:
        ctx.save_for_backward(index_T)
        ctx.rows = y.shape[0]
        return y.index_select(0, index_T)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dx: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (index_T,) = ctx.saved_tensors
        return dx.new_zeros(ctx.rows, *dx.shape[1:]).index_copy_(0, index_T, dx), None


def spread(x_T: Tensor, source_R: Tensor, index_T: Tensor) -> Tensor:
    """Fill a padded layout: row r is row `source_R[r]` of x.

    Padding rows may repeat any row, but nothing that reads them may reach a loss: the gradient of x is
    taken from the rows `index_T` alone.

    >>> spread(torch.tensor([[1.0], [2.0]]), torch.tensor([0, 0, 1]), torch.tensor([0, 2])).tolist()
    [[1.0], [1.0], [2.0]]
    """
    return _Spread.apply(x_T, source_R, index_T)


def collect(y_R: Tensor, index_T: Tensor) -> Tensor:
    """Take the rows `index_T` (all different) of a padded layout.

    >>> collect(torch.tensor([[1.0], [9.0], [2.0]]), torch.tensor([0, 2])).tolist()
    [[1.0], [2.0]]
    """
    return _Collect.apply(y_R, index_T)
