"""Linear map of a few rows by an 8-bit weight on a CPU, bound by reading the weight once.

Import this only where `ops.compiled.is_available`.

Suffixes: B rows, N outputs, K inputs, G groups of K.
"""
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

from array import array

import numpy as np
from numba import carray
from torch import Tensor

from nautiloid.ops.compiled import Kernel
from nautiloid.ops.intrinsics import (
    LANES,
    barrier,
    floats,
    integers,
    outer_block,
    share,
    team,
    thread,
)
from nautiloid.ops.linear.segments import COMPILED_ROWS
from nautiloid.ops.products import packed_product, widen_rows

# as in `ops.linear.jit`
FEW = 4
BLOCK = 8
_ROWS = array("q", range(COMPILED_ROWS))


@Kernel
def _linear(p):
    a = carray(p, 9)
    m, n, k = a[4], a[5], a[6]
    x = carray(floats(a[0]), (m, k))
    y = carray(floats(a[2]), (m, n))
    scratch = np.empty(BLOCK * k, np.float32)
    wide = scratch.ctypes.data
    if m <= FEW:
        index = carray(integers(a[3]), m)
        first, last = share((n + 3) // 4, thread(), team())
        packed_product(
            a[1], a[8], k, 4 * first, min(4 * last, n), a[0], index, 0, m, a[2], n, wide
        )  # fmt: skip
        scratch[0] = 0  # an array lives until its last use, not that of its address
        return
    across = carray(floats(a[7]), (k, LANES))
    first, last = share(k, thread(), team())
    for j in range(first, last):
        for i in range(m):
            across[j, i] = x[i, j]
        for i in range(m, LANES):
            across[j, i] = 0
    barrier()
    tile = np.empty((BLOCK, LANES), np.float32)
    out = tile.ctypes.data
    first, last = share((n + BLOCK - 1) // BLOCK, thread(), team())
    for r in range(BLOCK * first, min(BLOCK * last, n), BLOCK):
        rows = min(BLOCK, n - r)
        widen_rows(a[1], a[8], k, r, r + rows, wide)
        if rows == BLOCK:
            outer_block(wide, k, a[7], k, out, BLOCK)
        else:
            for q in range(rows):
                outer_block(wide + 4 * k * q, k, a[7], k, out + 4 * LANES * q, 1)
        for i in range(m):
            for q in range(rows):
                y[i, r + q] = tile[q, i]
    scratch[0] = tile[0, 0] = 0


def linear(x_BK: Tensor, data_NK: Tensor, scale_NG: Tensor) -> Tensor:
    """`x W^T` for at most `COMPILED_ROWS` float32 rows.

    >>> import torch
    >>> weight = torch.tensor([[3, 4]], dtype=torch.int8), torch.tensor([[0.5]]).bfloat16()
    >>> linear(torch.tensor([[1.0, 2.0]]), *weight).item()
    5.5
    """
    rows, inner = x_BK.shape
    width = data_NK.shape[0]
    out = x_BK.new_empty(rows, width)
    across = None if rows <= FEW else x_BK.new_empty(inner, LANES)
    _linear(
        x_BK.data_ptr(), data_NK.data_ptr(), out.data_ptr(), _ROWS.buffer_info()[0],
        rows, width, inner, 0 if across is None else across.data_ptr(), scale_NG.data_ptr(),
    )  # fmt: skip
    return out
