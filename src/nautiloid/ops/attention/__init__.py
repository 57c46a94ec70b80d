"""Softmax attention: reference, fused and GPU variants, packed and cached."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nautiloid.ops.attention import cuda, reference, sdpa
from nautiloid.ops.attention.rope import rotate
from nautiloid.ops.config import Backend

__all__ = ["cuda", "pick", "reference", "rotate", "sdpa"]


def _by_device(q_TQH: Tensor, *args: Any, **options: Any) -> Tensor:
    return (cuda if q_TQH.is_cuda else sdpa).attention(q_TQH, *args, **options)


def pick(backend: Backend):
    """The packed attention of a backend; that of `triton` is torch's own kernels too."""
    if backend == "reference":
        return reference.attention
    if backend == "triton":
        return cuda.attention
    return _by_device if backend == "auto" else sdpa.attention
