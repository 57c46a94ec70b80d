"""Token embedding from a table in 8 bits."""

from __future__ import annotations

from torch import Tensor

from nautiloid.ops.embedding import FEW
from nautiloid.ops.quant.int8 import Int8Weight


def packed_embedding(tokens_T: Tensor, table_VD: Int8Weight) -> Tensor:
    """float32 rows of the table.

    >>> import torch
    >>> table = Int8Weight(torch.tensor([[1], [2]], dtype=torch.int8), torch.ones(2, 1).bfloat16())
    >>> packed_embedding(torch.tensor([1]), table).tolist()
    [[2.0]]
    """
    if 0 < tokens_T.shape[0] <= FEW and table_VD.fits():
        from nautiloid.ops.quant.jit import embedding

        return embedding(tokens_T.contiguous(), table_VD.data, table_VD.scale)
    rows = Int8Weight(table_VD.data[tokens_T], table_VD.scale[tokens_T])
    return rows.widen()
