"""The activation of dense MLPs and shared experts."""

from __future__ import annotations

from torch import Tensor

from nautiloid.ops.backends import has
from nautiloid.ops.moe.reference import Activation
from nautiloid.ops.moe.reference import activate as plain

__all__ = ["Activation", "activate"]


def activate(h: Tensor, gate: Tensor | None, activation: Activation) -> Tensor:
    """`relu(h)^2`, `silu(gate) * h` or `relu(gate)^2 * h`; on a GPU the first in one pass each way.

    >>> import torch
    >>> activate(torch.tensor([-1.0, 3.0]), None, "relu2").tolist()
    [0.0, 9.0]
    """
    if h.is_cuda and gate is None and activation == "relu2" and has("triton"):
        from nautiloid.ops.activation import cuda

        return cuda.relu2(h)
    return plain(h, gate, activation)
