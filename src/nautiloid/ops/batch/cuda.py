# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false, reportMissingImports=false
"""The start of a decoding step as one kernel.

Suffix: B rows.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from nautiloid.ops.launch import blocks, launch

BLOCK = 128


@triton.jit
def begin_kernel(
    token_ptr, slot_ptr, past_ptr, column_ptr, page_ptr, newest_ptr, table_ptr, tokens_ptr,
    positions_ptr, B, P, BLOCK: tl.constexpr,
):  # fmt: skip
    """Program: BLOCK rows."""
    b = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = b < B
    slot = tl.load(slot_ptr + b, mask=inside, other=0)
    token = tl.load(token_ptr + b, mask=inside, other=0)
    token = tl.where(token < 0, tl.load(newest_ptr + slot, mask=inside, other=0), token)
    tl.store(tokens_ptr + b, token.to(tl.int64), mask=inside)
    tl.store(
        positions_ptr + b, tl.load(past_ptr + b, mask=inside, other=0).to(tl.int64), mask=inside
    )
    column = tl.load(column_ptr + b, mask=inside, other=-1)
    page = tl.load(page_ptr + b, mask=inside, other=0)
    at = slot.to(tl.int64) * P + column
    tl.store(table_ptr + at, page, mask=inside & (column >= 0))


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
    """As `ops.batch.begin`."""
    B = token_B.shape[0]
    launch(
        begin_kernel, (blocks(B, BLOCK),), token_B, slot_B, past_B, column_B, page_B, newest,
        page_table, tokens_B, positions_B, B, page_table.stride(0), BLOCK=BLOCK, num_warps=4,
    )  # fmt: skip
