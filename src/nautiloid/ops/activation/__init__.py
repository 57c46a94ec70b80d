"""The activation of dense MLPs and shared experts, and the sum of two outputs."""

from __future__ import annotations

from torch import Tensor

from nautiloid.ops import compiled
from nautiloid.ops.backends import has
from nautiloid.ops.moe.reference import Activation
from nautiloid.ops.moe.reference import activate as plain

__all__ = ["Activation", "activate", "add"]

# rows up to which the compiled kernels run
FEW = 16


def activate(h: Tensor, gate: Tensor | None, activation: Activation) -> Tensor:
    """`relu(h)^2`, `silu(gate) * h` or `relu(gate)^2 * h`; on a GPU the first in one pass each way.

    >>> import torch
    >>> activate(torch.tensor([-1.0, 3.0]), None, "relu2").tolist()
    [0.0, 9.0]
    """
    if h.is_cuda and gate is None and activation == "relu2" and has("triton"):
        from nautiloid.ops.activation import cuda

        return cuda.relu2(h)
    if h.shape[0] <= FEW and compiled.fits(h, gate):
        from nautiloid.ops.activation import jit

        return jit.activate(h, gate, activation)
    return plain(h, gate, activation)


def add(x: Tensor, y: Tensor) -> Tensor:
    """`x + y`.

    >>> import torch
    >>> add(torch.ones(1), torch.ones(1)).item()
    2.0
    """
    if x.shape[0] <= FEW and compiled.fits(x, y):
        from nautiloid.ops.activation import jit

        return jit.add(x, y)
    return x + y
