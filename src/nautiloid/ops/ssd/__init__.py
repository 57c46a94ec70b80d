"""State-space scan (Mamba-2 SSD): reference, chunked and GPU variants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from nautiloid.ops.backends import by_device, require
from nautiloid.ops.config import Backend
from nautiloid.ops.norm.reference import wide
from nautiloid.ops.ssd import chunked, reference
from nautiloid.ops.ssd.chunked import ssd_step

__all__ = ["chunked", "pick", "reference", "ssd_step"]

Scan = Callable[..., tuple[Tensor, Tensor]]


def pick(backend: Backend, chunk: int) -> Scan:
    """The scan of a backend; all but the GPU kernels compute in float32 or wider.

    Args:
        backend: Which.
        chunk: Chunk length of the variant in plain torch.
    """
    if backend == "reference":
        return partial(_in_wide, reference.ssd)
    if backend == "triton":
        require("triton", "triton", "gpu")
        return _kernels()
    plain = partial(_in_wide, partial(chunked.ssd, chunk=chunk))
    return by_device(plain, partial(_kernels, plain)) if backend == "auto" else plain


def _in_wide(
    scan: Scan,
    x_THP: Tensor,
    dt_TH: Tensor,
    A_H: Tensor,
    B_TGN: Tensor,
    C_TGN: Tensor,
    D_H: Tensor,
    lengths: Sequence[int],
    initial_SHPN: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    dtype = wide(x_THP.dtype)
    x, B, C = (v.to(dtype) for v in (x_THP, B_TGN, C_TGN))
    return scan(x, dt_TH, A_H, B, C, D_H, lengths, initial_SHPN)


def _kernels(other: Scan | None = None) -> Scan:
    from nautiloid.ops.ssd import cuda

    def scan(x_THP: Tensor, dt_TH: Tensor, A_H: Tensor, B_TGN: Tensor, *rest: Any) -> Any:
        sizes = x_THP.dtype, x_THP.shape[2], B_TGN.shape[2]
        run = cuda.ssd if other is None or cuda.fits(*sizes) else other
        return run(x_THP, dt_TH, A_H, B_TGN, *rest)

    return scan
