"""RMSNorm and gated group norm: reference and fused variants."""

from nautiloid.ops.config import Backend
from nautiloid.ops.norm import fused, reference
from nautiloid.ops.norm.reference import wide

__all__ = ["fused", "pick", "reference", "wide"]


def pick(backend: Backend):
    """The module whose `rms_norm` and `gated_group_norm` a backend uses."""
    return reference if backend == "reference" else fused
