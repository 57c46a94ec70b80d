"""RMSNorm and the gated group norm by their formulas (specs/architecture 2.1, 2.3).

Suffixes: X any leading dims, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype of fp32 islands: float32, or float64 for float64 inputs.

    >>> wide(torch.bfloat16), wide(torch.float64)
    (torch.float32, torch.float64)
    """
    return torch.promote_types(dtype, torch.float32)


def rms_norm(x_XD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """`w * x / sqrt(mean(x^2) + eps)` in fp32, cast once at the end.

    >>> rms_norm(torch.tensor([[3.0, 4.0]]), torch.ones(2), 0.0).tolist()
    [[0.848..., 1.131...]]
    """
    x = x_XD.to(wide(x_XD.dtype))
    y = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    return (weight_D.to(y.dtype) * y).to(x_XD.dtype)


def add_rms_norm(
    x_XD: Tensor, delta_XD: Tensor, weight_D: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """The residual stream after a block, `x + delta`, and its norm.

    >>> total, y = add_rms_norm(torch.ones(1, 2), torch.ones(1, 2), torch.ones(2), 0.0)
    >>> total.tolist(), y.tolist()
    ([[2.0, 2.0]], [[1.0, 1.0]])
    """
    total = x_XD + delta_XD
    return total, rms_norm(total, weight_D, eps)


def gated_group_norm(
    y_XD: Tensor, z_XD: Tensor, weight_D: Tensor, groups: int, eps: float
) -> Tensor:
    """Gate first, then normalise each group: `w * group_norm(y * SiLU(z))`.

    >>> gated_group_norm(torch.ones(1, 2), torch.ones(1, 2), torch.ones(2), 1, 0.0).tolist()
    [[1.0, 1.0]]
    """
    dtype = wide(z_XD.dtype)
    v = y_XD.to(dtype) * F.silu(z_XD.to(dtype))
    grouped = v.unflatten(-1, (groups, -1))
    grouped = grouped * torch.rsqrt(grouped.square().mean(-1, keepdim=True) + eps)
    return (weight_D.to(dtype) * grouped.flatten(-2)).to(z_XD.dtype)
