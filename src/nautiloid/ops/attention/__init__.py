"""Softmax attention: reference and fused variants, packed and cached."""

from nautiloid.ops.attention import reference, sdpa
from nautiloid.ops.attention.rope import rotate
from nautiloid.ops.config import Backend

__all__ = ["pick", "reference", "rotate", "sdpa"]


def pick(backend: Backend):
    """The packed attention of a backend."""
    return reference.attention if backend == "reference" else sdpa.attention
