"""Documents of different lengths in one row, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from nautiloid.core.errors import InputError


def pack(list_of_ids: Sequence[Sequence[int] | Tensor]) -> tuple[Tensor, Tensor]:
    """Lay documents end to end: what `model(tokens, cu_seqlens)` takes.

    A padded batch is passed as the rows without their padding.

    Args:
        list_of_ids: Token ids of each document, none of them empty.

    Returns:
        tokens int64 [T] and the boundaries int32 [documents + 1], from 0 to T.

    >>> pack([[5, 6, 7], [8]])
    (tensor([5, 6, 7, 8]), tensor([0, 3, 4], dtype=torch.int32))
    """
    if not list_of_ids:
        raise InputError("list_of_ids", None, "give at least one document")
    rows = [torch.as_tensor(ids, dtype=torch.int64) for ids in list_of_ids]
    for i, row in enumerate(rows):
        if row.ndim != 1 or row.numel() == 0:
            raise InputError(f"list_of_ids[{i}]", list(row.shape), "expected ids of one document")
    bounds = [0, *accumulate(row.numel() for row in rows)]
    return torch.cat(rows), torch.tensor(bounds, dtype=torch.int32, device=rows[0].device)
