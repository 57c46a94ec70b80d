"""What a decoding step starts with: tokens and positions of its rows, from words the host sent.

Suffix: B rows.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["begin"]


def begin(
    token_B: Tensor,
    slot_B: Tensor,
    past_B: Tensor,
    column_B: Tensor,
    page_B: Tensor,
    newest: Tensor,
    page_table: Tensor,
    tokens_B: Tensor,
    positions_B: Tensor,
) -> None:
    """Fill `tokens_B` and `positions_B`, and note the pages that sequences have got.

    Args:
        token_B: int32 newest token of each row; below 0 where only the device knows it.
        slot_B: int32 slot of each row.
        past_B: int32 tokens that are already cached.
        column_B: int32 place in the slot's row of the page table that changes; below 0 for none.
        page_B: int32 page that goes there.
        newest: int32 newest token of each slot, as drawn on the device.
        page_table: int32 [slots, P].
        tokens_B: int64, written.
        positions_B: int64, written.
    """
    if tokens_B.is_cuda:
        from nautiloid.ops.batch import cuda

        cuda.begin(
            token_B, slot_B, past_B, column_B, page_B, newest, page_table, tokens_B, positions_B
        )
        return
    known = newest[slot_B.long()]
    tokens_B.copy_(known.where(token_B < 0, token_B))
    positions_B.copy_(past_B)
    rows = column_B >= 0
    page_table[slot_B[rows].long(), column_B[rows].long()] = page_B[rows]
