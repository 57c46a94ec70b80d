"""Causal convolution with SiLU: reference and shifted variants."""

from nautiloid.ops.config import Backend
from nautiloid.ops.conv import reference, shifted
from nautiloid.ops.conv.shifted import conv_silu_step

__all__ = ["conv_silu_step", "pick", "reference", "shifted"]


def pick(backend: Backend):
    """The convolution of a backend."""
    return reference.conv_silu if backend == "reference" else shifted.conv_silu
