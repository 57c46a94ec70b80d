"""Assignments sorted by expert without the host knowing how many each expert got.

Suffixes: T tokens, K experts a token, A = T K assignments, E experts, R padded rows, L row width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nautiloid.ops.launch import blocks, launch, power_of_2
from nautiloid.ops.moe import kernels_layout as kernels
from nautiloid.ops.tuning import tuned

# rows of one block of the products; a block belongs to one expert
BLOCK_ROWS = 128
# assignments counted and ranked by one program
SORT_BLOCK = 256


class Layout(NamedTuple):
    """Where each assignment lies among the rows sorted by expert.

    Args:
        place_TK: int32 row of each assignment.
        weights_R: float32 routing weight of each row; 0 in the padding.
        tokens_R: int32 token of each row; 0 in the padding.
        totals_E: int32 assignments of each expert.
        starts: int32 [E + 1] first row of each expert, and the end.
        table: int32 [blocks, 3] first row, expert and rows of each row block.
        used: int32 [1] blocks in use.
        rows: Rows that the worst case needs, R.
    """

    place_TK: Tensor
    weights_R: Tensor
    tokens_R: Tensor
    totals_E: Tensor
    starts: Tensor
    table: Tensor
    used: Tensor
    rows: int


def _count(experts_TK: Tensor, valid_T: Tensor | None, experts: int) -> Tensor:
    """int32 [blocks, E]."""
    assigned = experts_TK.numel()
    parts = blocks(assigned, SORT_BLOCK)
    counts = torch.empty(parts, experts, dtype=torch.int32, device=experts_TK.device)
    launch(
        kernels.count_kernel,
        (parts,),
        experts_TK,
        experts_TK if valid_T is None else valid_T.contiguous(),
        counts,
        assigned,
        experts,
        K=experts_TK.shape[1],
        BLOCK=SORT_BLOCK,
        EP=power_of_2(experts),
        HAS_VALID=valid_T is not None,
    )
    return counts


def expert_counts(experts_TK: Tensor, experts: int, valid_T: Tensor | None = None) -> Tensor:
    """int64 [E]: assignments of each expert, of the tokens where `valid_T` holds."""
    return _count(experts_TK.contiguous(), valid_T, experts).sum(0)


def arrange(experts_TK: Tensor, weights_TK: Tensor, experts: int, align: int = 64) -> Layout:
    """Sort assignments by expert, in the order of the tokens within each.

    Args:
        experts_TK: Chosen experts.
        weights_TK: Their weights.
        experts: Number of experts.
        align: Rows that every expert is padded to, such as 1, 16, 32, 64 or 128.
    """
    experts_TK, weights_TK = experts_TK.contiguous(), weights_TK.contiguous()
    device, assigned = experts_TK.device, experts_TK.numel()
    touched = min(experts, assigned)
    rows = -(-(assigned + touched * (align - 1)) // BLOCK_ROWS) * BLOCK_ROWS
    most = rows // BLOCK_ROWS + touched
    parts = -(-assigned // SORT_BLOCK)
    wide = power_of_2(experts)
    integers = {"dtype": torch.int32, "device": device}
    counts = _count(experts_TK, None, experts)
    totals = torch.empty(experts, **integers)
    starts = torch.empty(experts + 1, **integers)
    table = torch.empty(most, 3, **integers)
    used = torch.empty(1, **integers)
    place = torch.empty(experts_TK.shape, **integers)
    tokens, bits = torch.zeros(2, rows, **integers).unbind()
    weights = bits.view(torch.float32)
    columns = min(8, wide)
    launch(
        kernels.scan_kernel,
        (blocks(experts, columns),),
        counts,
        totals,
        parts,
        experts,
        BLOCK=256,
        WIDE=columns,
    )
    launch(
        kernels.table_kernel,
        (1,),
        totals,
        starts,
        table,
        used,
        experts,
        ALIGN=align,
        ROWS=BLOCK_ROWS,
        EP=wide,
    )
    launch(kernels.place_kernel, (parts,),
        experts_TK, weights_TK, counts, starts, place, weights, tokens, assigned, experts,
        K=experts_TK.shape[1], BLOCK=SORT_BLOCK,
    )  # fmt: skip
    return Layout(place, weights, tokens, totals, starts, table, used, rows)


def spread(x_TL: Tensor, layout: Layout) -> Tensor:
    """Rows of the tokens [R, L] sorted by expert; padding rows in use are zero, others unwritten."""
    tokens, top_k = layout.place_TK.shape
    width = x_TL.shape[1]
    if x_TL.stride(1) != 1:
        x_TL = x_TL.contiguous()
    out = x_TL.new_empty(layout.rows, width)
    meta = tuned("moe_spread", BLOCK=1024, num_warps=4)
    launch(
        kernels.spread_kernel,
        (tokens + layout.totals_E.shape[0],),
        x_TL,
        layout.place_TK,
        layout.totals_E,
        layout.starts,
        out,
        tokens,
        width,
        x_TL.stride(0),
        K=top_k,
        **meta,
    )
    return out


def combine(y_RL: Tensor, layout: Layout, second_RL: Tensor | None = None) -> Tensor:
    """Each token's sum over its rows [T, L], in float32 and in the order of its choices."""
    tokens, top_k = layout.place_TK.shape
    width = y_RL.shape[1]
    out = y_RL.new_empty(tokens, width)
    meta = tuned("moe_combine", BLOCK=1024, num_warps=4)
    launch(
        kernels.combine_kernel,
        (tokens, blocks(width, meta["BLOCK"])),
        y_RL,
        y_RL if second_RL is None else second_RL,
        layout.place_TK,
        out,
        width,
        K=top_k,
        HAS_SECOND=second_RL is not None,
        **meta,
    )
    return out


def collect(parts_NR: Tensor, layout: Layout, dtype: torch.dtype) -> Tensor:
    """[T, K]: sum over N of what belongs to each assignment's row."""
    place = layout.place_TK
    out = torch.empty(place.shape, dtype=dtype, device=place.device)
    block = 256
    launch(
        kernels.collect_kernel,
        (blocks(place.numel(), block),),
        parts_NR,
        place,
        out,
        place.numel(),
        parts_NR.shape[1],
        N=parts_NR.shape[0],
        BLOCK=block,
    )
    return out
