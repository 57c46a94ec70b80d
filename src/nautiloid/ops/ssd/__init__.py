"""State-space scan (Mamba-2 SSD): reference and chunked variants."""

from nautiloid.ops.config import Backend
from nautiloid.ops.ssd import chunked, reference
from nautiloid.ops.ssd.chunked import ssd_step

__all__ = ["chunked", "pick", "reference", "ssd_step"]


def pick(backend: Backend):
    """The scan function of a backend."""
    return reference.ssd if backend == "reference" else chunked.ssd
