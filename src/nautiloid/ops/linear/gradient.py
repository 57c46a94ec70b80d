"""Weight gradients of linear maps, summed in float32.

Suffixes: T tokens, N outputs, D inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor


def add_product(into_ND: Tensor, dy_TN: Tensor, x_TD: Tensor, *, is_first: bool = False) -> None:
    """`into += dy^T x`, or `into = dy^T x` when it is the first, without rounding to the operands' dtype.

    On a GPU the sum is the epilogue of the product, also where `into` is wider than the operands.

    >>> into = torch.zeros(1, 1)
    >>> add_product(into, torch.tensor([[2.0]]), torch.tensor([[3.0]]))
    >>> into.item()
    6.0
    """
    dy = dy_TN.t()
    if dy.dtype == into_ND.dtype:
        torch.addmm(into_ND, dy, x_TD, beta=0 if is_first else 1, out=into_ND)
    elif dy.is_cuda:
        beta = 0 if is_first else 1
        torch.addmm(into_ND, dy, x_TD, out_dtype=into_ND.dtype, beta=beta, out=into_ND)
    else:
        wide = dy.to(into_ND.dtype), x_TD.to(into_ND.dtype)
        torch.addmm(into_ND, *wide, beta=0 if is_first else 1, out=into_ND)
