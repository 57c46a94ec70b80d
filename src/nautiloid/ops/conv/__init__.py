"""Causal convolution with SiLU: reference, shifted and GPU variants."""

from nautiloid.ops.backends import by_device, require
from nautiloid.ops.config import Backend
from nautiloid.ops.conv import reference, shifted
from nautiloid.ops.conv.shifted import conv_silu_step

__all__ = ["conv_silu_step", "pick", "reference", "shifted"]


def _kernels():
    from nautiloid.ops.conv.cuda import conv_silu

    return conv_silu


def pick(backend: Backend):
    """The convolution of a backend."""
    if backend == "reference":
        return reference.conv_silu
    if backend == "triton":
        require("triton", "triton", "gpu")
        return _kernels()
    return by_device(shifted.conv_silu, _kernels) if backend == "auto" else shifted.conv_silu
