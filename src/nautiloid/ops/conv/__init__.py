"""Causal convolution with SiLU: reference, shifted, compiled and GPU variants."""

from collections.abc import Sequence

from torch import Tensor

from nautiloid.ops import compiled
from nautiloid.ops.backends import by_device, require
from nautiloid.ops.config import Backend
from nautiloid.ops.conv import reference, shifted
from nautiloid.ops.conv.shifted import conv_silu_step

__all__ = ["conv_silu_step", "pick", "reference", "shifted"]


def _conv_silu(
    x_TC: Tensor,
    weight_CK: Tensor,
    bias_C: Tensor | None,
    lengths: Sequence[int],
    initial_SLC: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    is_dense = initial_SLC is None or initial_SLC.is_contiguous()
    if is_dense and compiled.is_plain(x_TC, weight_CK, bias_C, initial_SLC):
        from nautiloid.ops.conv.jit import conv_silu

        return conv_silu(x_TC, weight_CK, bias_C, lengths, initial_SLC)
    return shifted.conv_silu(x_TC, weight_CK, bias_C, lengths, initial_SLC)


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
    plain = _conv_silu if compiled.is_wanted(backend) else shifted.conv_silu
    return by_device(plain, _kernels) if backend == "auto" else plain
