"""AdamW over flat memory: one pass over parameters, gradients and moments."""

from nautiloid.core.errors import InputError
from nautiloid.ops.adamw import reference
from nautiloid.ops.adamw.reference import Scalars
from nautiloid.ops.backends import by_device, require
from nautiloid.ops.config import Backend

__all__ = ["Scalars", "pick", "reference"]


def _update_cuda():
    from nautiloid.ops.adamw import cuda

    return cuda.update


def _square_sum_cuda():
    from nautiloid.ops.adamw import cuda

    return cuda.square_sum


def pick(backend: Backend):
    """The functions `update` and `square_sum` of a backend."""
    if backend == "triton":
        require("triton", backend, "gpu")
        return _update_cuda(), _square_sum_cuda()
    if backend in ("reference", "torch"):
        return reference.update, reference.square_sum
    if backend != "auto":
        raise InputError("ops.adamw", backend, "use auto, reference or triton")
    return (
        by_device(reference.update, _update_cuda),
        by_device(reference.square_sum, _square_sum_cuda),
    )
