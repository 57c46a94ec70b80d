"""Linear map of a few rows on a GPU, bound by reading the weight once.

Suffixes: T rows, N outputs, D inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nautiloid.ops.launch import blocks, launch, power_of_2
from nautiloid.ops.linear import kernels
from nautiloid.ops.tuning import tuned

# programs that keep the memory of a GPU with 132 multiprocessors busy
PROGRAMS = 160


def _tile(outputs: int) -> int:
    """Weight rows a program, such that there are enough programs."""
    for rows in (64, 32):
        if blocks(outputs, rows) >= PROGRAMS:
            return rows
    return 16


def linear(x_TD: Tensor, weight_ND: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """`x W^T + b` with the weight's rows as the wide operand of the product."""
    tokens, inner = x_TD.shape
    outputs = weight_ND.shape[0]
    x_TD = x_TD if x_TD.stride(1) == 1 else x_TD.contiguous()
    out = x_TD.new_empty(tokens, outputs)
    tile = _tile(outputs)
    size = min(64, max(16, power_of_2(tokens)))
    meta = {"BM": tile, "BK": 256 if tile < 64 else 128, "AHEAD": 0, "num_stages": 4}
    meta = tuned(f"linear_thin_{tile}", num_warps=4, **meta)
    launch(
        kernels.thin_kernel,
        (blocks(outputs, meta["BM"]), blocks(tokens, size)),
        x_TD,
        weight_ND.contiguous(),
        weight_ND if bias_N is None else bias_N,
        out,
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
    return out
