"""Embedding of a few tokens on a CPU.

Import this only where `ops.compiled.is_available`.
"""
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

from numba import carray
from torch import Tensor

from nautiloid.ops.compiled import Kernel
from nautiloid.ops.intrinsics import floats, integers


@Kernel
def _embedding(p):
    a = carray(p, 6)
    count, width, vocabulary = a[3], a[4], a[5]
    tokens = carray(integers(a[0]), count)
    weight = carray(floats(a[1]), (vocabulary, width))
    out = carray(floats(a[2]), (count, width))
    for i in range(count):
        # the host checks ids; this keeps a wrong one inside the table
        token = min(max(tokens[i], 0), vocabulary - 1)
        for j in range(width):
            out[i, j] = weight[token, j]


def embedding(tokens_T: Tensor, weight_VD: Tensor) -> Tensor:
    """Rows of the table.

    >>> import torch
    >>> embedding(torch.tensor([1]), torch.tensor([[1.0], [2.0]])).tolist()
    [[2.0]]
    """
    vocabulary, width = weight_VD.shape
    out = weight_VD.new_empty(tokens_T.shape[0], width)
    _embedding(
        tokens_T.data_ptr(), weight_VD.data_ptr(), out.data_ptr(),
        tokens_T.shape[0], width, vocabulary, threads=1,
    )  # fmt: skip
    return out
