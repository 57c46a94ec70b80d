"""8-bit weights widened by compiled kernels on a CPU: all rows, or the rows of some tokens.

Import this only where `ops.compiled.is_available`.

Suffixes: N rows, K columns, G groups, T tokens, V vocabulary, D width.
"""
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import torch
from numba import carray
from torch import Tensor

from nautiloid.ops.compiled import Kernel
from nautiloid.ops.intrinsics import integers, share, team, thread
from nautiloid.ops.products import widen_rows


@Kernel
def _widen(p):
    a = carray(p, 5)
    first, last = share(a[3], thread(), team())
    widen_rows(a[0], a[1], a[4], first, last, a[2] + 4 * a[4] * first)


def widen(data: Tensor, scale: Tensor) -> Tensor:
    """float32 values of a contiguous packed weight.

    >>> widen(torch.tensor([[3, -4]], dtype=torch.int8), torch.tensor([[0.5]]).bfloat16()).tolist()
    [[1.5, -2.0]]
    """
    out = torch.empty(data.shape, dtype=torch.float32)
    columns = data.shape[-1]
    _widen(
        data.data_ptr(), scale.data_ptr(), out.data_ptr(), data.numel() // columns, columns
    )  # fmt: skip
    return out


@Kernel
def _embedding(p):
    a = carray(p, 7)
    count, width, vocabulary = a[4], a[5], a[6]
    tokens = carray(integers(a[0]), count)
    groups = (width + 63) // 64
    for i in range(count):
        # the host checks ids; this keeps a wrong one inside the table
        token = min(max(tokens[i], 0), vocabulary - 1)
        data, scale = a[1] + width * token, a[2] + 2 * groups * token
        widen_rows(data, scale, width, 0, 1, a[3] + 4 * width * i)


def embedding(tokens_T: Tensor, data_VD: Tensor, scale_VG: Tensor) -> Tensor:
    """Rows of a packed table.

    >>> table = torch.tensor([[1], [2]], dtype=torch.int8), torch.ones(2, 1).bfloat16()
    >>> embedding(torch.tensor([1]), *table).tolist()
    [[2.0]]
    """
    vocabulary, width = data_VD.shape
    out = torch.empty(tokens_T.shape[0], width)
    _embedding(
        tokens_T.data_ptr(), data_VD.data_ptr(), scale_VG.data_ptr(), out.data_ptr(),
        tokens_T.shape[0], width, vocabulary, threads=1,
    )  # fmt: skip
    return out
