"""RMSNorm of a few rows on a CPU in one pass.

Import this only where `ops.compiled.is_available`.
"""
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false, reportArgumentType=false

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


@Kernel
def _add_rms_norm(p):
    a = carray(p, 8)
    rows, width = a[5], a[6]
    x = carray(floats(a[0]), (rows, width))
    delta = carray(floats(a[1]), (rows, width))
    weight = carray(floats(a[2]), width)
    total = carray(floats(a[3]), (rows, width))
    y = carray(floats(a[4]), (rows, width))
    for i in range(rows):
        square = np.float32(0)
        for j in range(width):
            total[i, j] = x[i, j] + delta[i, j]
        for j in range(width):
            square += total[i, j] * total[i, j]
        scale = np.float32(1.0 / np.sqrt(square / width + real(a[7])))
        for j in range(width):
            y[i, j] = total[i, j] * scale * weight[j]


def add_rms_norm(
    x_XD: Tensor, delta_XD: Tensor, weight_D: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Same contract as `reference.add_rms_norm` for contiguous float32 rows.

    >>> import torch
    >>> one = torch.ones(1, 1)
    >>> [t.item() for t in add_rms_norm(one, one, torch.ones(1), 0.0)]
    [2.0, 1.0]
    """
    total, out = x_XD.new_empty(x_XD.shape), x_XD.new_empty(x_XD.shape)
    width = x_XD.shape[-1]
    _add_rms_norm(
        x_XD.data_ptr(), delta_XD.data_ptr(), weight_D.data_ptr(), total.data_ptr(),
        out.data_ptr(), x_XD.numel() // width, width, bits(eps), threads=1,
    )  # fmt: skip
    return total, out


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
