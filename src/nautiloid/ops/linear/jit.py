"""Linear map of a few rows on a CPU, bound by reading the weights once.

Import this only where `ops.compiled.is_available`.
"""
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

from array import array

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
from nautiloid.ops.products import rows_product

# up to this many rows sums run along the rows, above it the rows are the lanes of a vector
FEW = 4
BLOCK = 8
_ROWS = array("q", range(COMPILED_ROWS))


@Kernel
def _linear(p):
    a = carray(p, 8)
    m, n, k = a[4], a[5], a[6]
    x = carray(floats(a[0]), (m, k))
    y = carray(floats(a[2]), (m, n))
    if m <= FEW:
        index = carray(integers(a[3]), m)
        first, last = share((n + 3) // 4, thread(), team())
        rows_product(a[1], k, 4 * first, min(4 * last, n), a[0], index, 0, m, a[2], n)
        return
    across = carray(floats(a[7]), (k, LANES))
    product = carray(floats(a[7] + 4 * LANES * k), (n, LANES))
    first, last = share(k, thread(), team())
    for j in range(first, last):
        for i in range(m):
            across[j, i] = x[i, j]
        for i in range(m, LANES):
            across[j, i] = 0
    barrier()
    blocks = n // BLOCK
    first, last = share(blocks, thread(), team())
    begin, end = BLOCK * first, BLOCK * last
    for b in range(first, last):
        r = BLOCK * b
        outer_block(a[1] + 4 * k * r, k, a[7], k, a[7] + 4 * LANES * (k + r), BLOCK)
    if last == blocks:
        for r in range(BLOCK * blocks, n):
            outer_block(a[1] + 4 * k * r, k, a[7], k, a[7] + 4 * LANES * (k + r), 1)
        end = n
    # square tiles, so that neither side leaves the nearest cache
    for tile in range(begin, end, LANES):
        for i in range(m):
            for r in range(tile, min(tile + LANES, end)):
                y[i, r] = product[r, i]


def linear(x_BK: Tensor, weight_NK: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """`x W^T + b` for at most `COMPILED_ROWS` float32 rows.

    >>> import torch
    >>> linear(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])).item()
    11.0
    """
    rows, inner = x_BK.shape
    width = weight_NK.shape[0]
    out = x_BK.new_empty(rows, width)
    scratch = None if rows <= FEW else x_BK.new_empty(inner + width, LANES)
    _linear(
        x_BK.data_ptr(), weight_NK.data_ptr(), out.data_ptr(), _ROWS.buffer_info()[0],
        rows, width, inner, 0 if scratch is None else scratch.data_ptr(),
    )  # fmt: skip
    return out if bias_N is None else out.add_(bias_N)
