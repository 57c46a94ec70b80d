"""State-space scan (Mamba-2 SSD): reference and chunked variants."""

from functools import partial

from nautiloid.ops.config import Backend
from nautiloid.ops.ssd import chunked, reference
from nautiloid.ops.ssd.chunked import ssd_step

__all__ = ["chunked", "pick", "reference", "ssd_step"]


def pick(backend: Backend, chunk: int):
    """The scan of a backend, with its chunk length where it has one."""
    return reference.ssd if backend == "reference" else partial(chunked.ssd, chunk=chunk)
