"""Linear map of a few rows on a GPU, bound by reading the weight once.

Suffixes: T rows, N outputs, D inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nautiloid.ops.launch import blocks, launch, power_of_2
from nautiloid.ops.linear import kernels
from nautiloid.ops.tuning import tuned

# 16-byte pieces of weights a lane holds: more would leave too few programs a multiprocessor
PIECES = 24


# rows up to which multiplying lane by lane keeps up with reading the weight
VECTORS = 4
# outputs from which tiles alone fill the GPU
MANY_OUTPUTS = 65536


def rows_a_warp(inner: int, maps: int = 1) -> int:
    """Weight rows of 16-bit numbers that the registers of a warp hold at once, at least one.

    >>> rows_a_warp(2688), rows_a_warp(4096), rows_a_warp(1024, 2)
    (2, 1, 2)
    """
    rows = max(1, PIECES // (maps * blocks(inner, 256)))
    return 1 << (rows.bit_length() - 1)


def linear(
    x_TD: Tensor,
    weight_ND: Tensor,
    bias_N: Tensor | None = None,
    out_TN: Tensor | None = None,
) -> Tensor:
    """`x W^T + b` of at most a few dozen rows, rounded to x or to what `out` holds."""
    x_TD = x_TD if x_TD.stride(1) == 1 else x_TD.contiguous()
    weight_ND = weight_ND.contiguous()
    tokens, outputs = x_TD.shape[0], weight_ND.shape[0]
    out_TN = x_TD.new_empty(tokens, outputs) if out_TN is None else out_TN
    assert out_TN.is_contiguous()
    if tokens <= VECTORS and outputs < MANY_OUTPUTS:
        _vectors(x_TD, weight_ND, bias_N, out_TN)
    else:
        _several(x_TD, weight_ND, bias_N, out_TN)
    return out_TN


def _vectors(x_TD: Tensor, weight_ND: Tensor, bias_N: Tensor | None, out_TN: Tensor) -> None:
    (tokens, inner), outputs = x_TD.shape, weight_ND.shape[0]
    meta = tuned("linear_vector", BM=4 * rows_a_warp(inner), BK=256, num_warps=4)
    launch(
        kernels.vector_kernel,
        (blocks(outputs, meta["BM"]),),
        x_TD,
        weight_ND,
        weight_ND if bias_N is None else bias_N,
        out_TN,
        tokens,
        outputs,
        x_TD.stride(0),
        D=inner,
        ROWS=power_of_2(tokens),
        HAS_BIAS=bias_N is not None,
        is_chained=True,
        **meta,
    )


def _several(x_TD: Tensor, weight_ND: Tensor, bias_N: Tensor | None, out_TN: Tensor) -> None:
    (tokens, inner), outputs = x_TD.shape, weight_ND.shape[0]
    size = min(64, max(16, power_of_2(tokens)))
    meta = tuned("linear_thin", BM=64, BK=64, num_warps=4, num_stages=7)
    launch(
        kernels.thin_kernel,
        (blocks(outputs, meta["BM"]), blocks(tokens, size)),
        x_TD,
        weight_ND,
        weight_ND if bias_N is None else bias_N,
        out_TN,
        tokens,
        outputs,
        x_TD.stride(0),
        D=inner,
        BT=size,
        HAS_BIAS=bias_N is not None,
        PRECISION="ieee" if x_TD.dtype == torch.float32 else "tf32",
        is_chained=True,
        **meta,
    )
