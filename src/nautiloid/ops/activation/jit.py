"""Activation, and sum, of a few rows on a CPU.

Import this only where `ops.compiled.is_available`.
"""
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import numpy as np
from numba import carray
from torch import Tensor

from nautiloid.ops.compiled import Kernel
from nautiloid.ops.intrinsics import floats, silu32
from nautiloid.ops.moe.reference import Activation


@Kernel
def _activate(p):
    a = carray(p, 5)
    count, is_silu = a[3], a[4] != 0
    h, out = carray(floats(a[0]), count), carray(floats(a[2]), count)
    gate = carray(floats(a[1] if a[1] != 0 else a[0]), count)
    if is_silu:
        for i in range(count):
            out[i] = silu32(gate[i])
    else:
        for i in range(count):
            # a NaN stays one
            v = np.float32(0) if gate[i] < np.float32(0) else gate[i]
            out[i] = v * v
    if a[1] != 0:
        for i in range(count):
            out[i] *= h[i]


def activate(h: Tensor, gate: Tensor | None, activation: Activation) -> Tensor:
    """Same contract as `ops.activation.activate` for contiguous float32 tensors.

    >>> import torch
    >>> activate(torch.tensor([-1.0, 3.0]), None, "relu2").tolist()
    [0.0, 9.0]
    """
    out = h.new_empty(h.shape)
    address = 0 if gate is None else gate.data_ptr()
    _activate(h.data_ptr(), address, out.data_ptr(), h.numel(), activation == "silu", threads=1)
    return out


@Kernel
def _add(p):
    a = carray(p, 4)
    x, y, out = carray(floats(a[0]), a[3]), carray(floats(a[1]), a[3]), carray(floats(a[2]), a[3])
    for i in range(a[3]):
        out[i] = x[i] + y[i]


def add(x: Tensor, y: Tensor) -> Tensor:
    """Sum of two contiguous float32 tensors.

    >>> import torch
    >>> add(torch.ones(1), torch.ones(1)).item()
    2.0
    """
    out = x.new_empty(x.shape)
    _add(x.data_ptr(), y.data_ptr(), out.data_ptr(), x.numel(), threads=1)
    return out
