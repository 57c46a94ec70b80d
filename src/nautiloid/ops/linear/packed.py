"""Linear map by an 8-bit weight: a compiled kernel for a few rows, else block by block.

No float32 copy of the weight is ever whole in memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nautiloid.ops import compiled
from nautiloid.ops.linear.segments import COMPILED_ROWS
from nautiloid.ops.quant.int8 import Int8Weight

# numbers of a widened block, half a megabyte in float32
BLOCK_NUMBERS = 1 << 17


def packed_linear(x_XK: Tensor, weight: Int8Weight, bias_N: Tensor | None = None) -> Tensor:
    """`x W^T + b`; gradients reach `x` alone.

    >>> weight = Int8Weight(torch.tensor([[3, 4]], dtype=torch.int8), torch.ones(1, 1).bfloat16())
    >>> packed_linear(torch.tensor([[1.0, 2.0]]), weight).item()
    11.0
    """
    x_TK = x_XK.reshape(-1, x_XK.shape[-1])
    if 0 < x_TK.shape[0] <= COMPILED_ROWS and compiled.fits(x_TK) and weight.fits():
        from nautiloid.ops.linear.jit_int8 import linear

        y = linear(x_TK, weight.data, weight.scale)
    else:
        rows = max(1, BLOCK_NUMBERS // weight.shape[1])
        starts = range(0, weight.shape[0], rows)
        parts = [x_TK @ weight[at : at + rows].widen(x_TK.dtype).t() for at in starts]
        y = parts[0] if len(parts) == 1 else torch.cat(parts, -1)
    y = y if bias_N is None else y + bias_N
    return y.view(*x_XK.shape[:-1], weight.shape[0])
