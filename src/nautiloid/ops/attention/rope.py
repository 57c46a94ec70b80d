"""Rotary position embedding, half-split layout (rotate the two halves of the first `width` channels)."""

from __future__ import annotations

import torch
from torch import Tensor


def rotate(x_THD: Tensor, positions_T: Tensor, theta: float, width: int) -> Tensor:
    """Rotate the first `width` channels of each head by its position.

    Args:
        x_THD: Queries or keys.
        positions_T: Position of each token.
        theta: Base of the wavelengths.
        width: Rotated channels, even.

    >>> rotate(torch.ones(1, 1, 2), torch.tensor([0]), 10000.0, 2).tolist()
    [[[1.0, 1.0]]]
    """
    dtype = torch.promote_types(x_THD.dtype, torch.float32)
    # wavelengths are float32 in every implementation that models were trained with
    powers = torch.arange(0, width, 2, device=x_THD.device, dtype=torch.float32) / width
    angle = positions_T[:, None].to(dtype) * (1.0 / theta**powers).to(dtype)
    cos, sin = (f.to(x_THD.dtype)[:, None] for f in (angle.cos(), angle.sin()))
    a, b = x_THD[..., : width // 2], x_THD[..., width // 2 : width]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, x_THD[..., width:]], -1)
