"""RMSNorm of a few rows on a CPU in one pass.

Import this only where `ops.compiled.is_available`.
"""
# pyright: basic, reportGeneralTypeIssues=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import numpy as np
from numba import carray
from torch import Tensor

from nautiloid.ops.compiled import Kernel, bits
from nautiloid.ops.intrinsics import floats, real


@Kernel
def _rms_norm(p):
    a = carray(p, 6)
    rows, width = a[3], a[4]
    x = carray(floats(a[0]), (rows, width))
    weight = carray(floats(a[1]), width)
    y = carray(floats(a[2]), (rows, width))
    for i in range(rows):
        total = np.float32(0)
        for j in range(width):
            total += x[i, j] * x[i, j]
        scale = np.float32(1.0 / np.sqrt(total / width + real(a[5])))
        for j in range(width):
            y[i, j] = x[i, j] * scale * weight[j]


def rms_norm(x_XD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """Same contract as `reference.rms_norm` for contiguous float32 rows.

    >>> import torch
    >>> rms_norm(torch.tensor([[3.0, 4.0]]), torch.ones(2), 0.0).square().mean().item()
    1.0
    """
    out = x_XD.new_empty(x_XD.shape)
    width = x_XD.shape[-1]
    _rms_norm(
        x_XD.data_ptr(), weight_D.data_ptr(), out.data_ptr(),
        x_XD.numel() // width, width, bits(eps), threads=1,
    )  # fmt: skip
    return out
