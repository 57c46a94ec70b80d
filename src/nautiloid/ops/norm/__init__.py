"""RMSNorm and gated group norm: reference, fused, compiled and GPU variants."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from nautiloid.ops import compiled
from nautiloid.ops.backends import by_device, require
from nautiloid.ops.config import Backend
from nautiloid.ops.norm import fused, reference
from nautiloid.ops.norm.reference import wide

__all__ = ["Norms", "fused", "pick", "reference", "wide"]

# rows up to which one thread normalises faster than a few library calls
FEW_ROWS = 16


class Norms(NamedTuple):
    """The norms of a backend."""

    rms_norm: Callable[[Tensor, Tensor, float], Tensor]
    gated_group_norm: Callable[[Tensor, Tensor, Tensor, int, float], Tensor]
    add_rms_norm: Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]


def _rms_norm(x_XD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    if x_XD.numel() <= FEW_ROWS * weight_D.numel() and compiled.fits(x_XD, weight_D):
        from nautiloid.ops.norm.jit import rms_norm

        return rms_norm(x_XD, weight_D, eps)
    if x_XD.is_contiguous() and compiled.is_plain(x_XD, weight_D):
        from nautiloid.ops.norm import jit_train

        return jit_train.rms_norm(x_XD, weight_D, eps)
    return fused.rms_norm(x_XD, weight_D, eps)


def _add_rms_norm(
    x_XD: Tensor, delta_XD: Tensor, weight_D: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    if x_XD.numel() <= FEW_ROWS * weight_D.numel() and compiled.fits(x_XD, delta_XD, weight_D):
        from nautiloid.ops.norm.jit import add_rms_norm

        return add_rms_norm(x_XD, delta_XD, weight_D, eps)
    is_dense = x_XD.is_contiguous() and delta_XD.is_contiguous()
    if is_dense and compiled.is_plain(x_XD, delta_XD, weight_D):
        from nautiloid.ops.norm import jit_train

        return jit_train.add_rms_norm(x_XD, delta_XD, weight_D, eps)
    return fused.add_rms_norm(x_XD, delta_XD, weight_D, eps)


def _gated_group_norm(
    y_XD: Tensor, z_XD: Tensor, weight_D: Tensor, groups: int, eps: float
) -> Tensor:
    is_flat = y_XD.dim() == 2 and y_XD.is_contiguous()
    if is_flat and compiled.is_plain(y_XD, z_XD, weight_D):
        from nautiloid.ops.norm import jit_train

        return jit_train.gated_group_norm(y_XD, z_XD, weight_D, groups, eps)
    return fused.gated_group_norm(y_XD, z_XD, weight_D, groups, eps)


def _kernels() -> Norms:
    from nautiloid.ops.norm import cuda

    return Norms(cuda.rms_norm, cuda.gated_group_norm, cuda.add_rms_norm)


def pick(backend: Backend) -> Norms:
    """The norms of a backend."""
    if backend == "reference":
        return Norms(reference.rms_norm, reference.gated_group_norm, reference.add_rms_norm)
    if backend == "triton":
        require("triton", "triton", "gpu")
        return _kernels()
    plain = Norms(fused.rms_norm, fused.gated_group_norm, fused.add_rms_norm)
    if compiled.is_wanted(backend):
        plain = Norms(_rms_norm, _gated_group_norm, _add_rms_norm)
    if backend != "auto":
        return plain
    return Norms(
        by_device(plain.rms_norm, lambda: _kernels().rms_norm),
        by_device(plain.gated_group_norm, lambda: _kernels().gated_group_norm),
        by_device(plain.add_rms_norm, lambda: _kernels().add_rms_norm),
    )
