"""The sequence balance loss on a GPU, without the host waiting for anything.

Suffixes: T tokens, E experts, C chunks of a packing row, R packing rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nautiloid.ops.launch import blocks, launch, power_of_2
from nautiloid.ops.moe import kernels_route as kernels
from nautiloid.ops.packing import chunk_table, cu_seqlens

# tokens of one program
CHUNK = 16


class _Balance(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, scores: Tensor, valid: Tensor | None, top_k: int, lengths: tuple[int, ...]
    ) -> Tensor:
        experts, device = scores.shape[1], scores.device
        chunks = chunk_table(lengths, CHUNK, device)
        starts = cu_seqlens(lengths, device)
        chunk_starts = cu_seqlens(tuple(-(-n // CHUNK) for n in lengths), device)
        count, rows = chunks.shape[0], len(lengths)
        wide = power_of_2(experts)
        columns = min(wide, 16)
        parts = blocks(experts, columns)
        sums = scores.new_empty(2, count, experts)
        sizes = scores.new_empty(count)
        factors = scores.new_empty(rows, experts)
        losses = scores.new_empty(rows, parts)
        shape = {"EP": wide, "ROWS": max(1, min(CHUNK, 512 // wide)), "CHUNK": CHUNK}
        meta: dict[str, Any] = {**shape, "num_warps": 1}
        mask = {"valid": scores if valid is None else valid, "HAS_VALID": valid is not None}
        launch(kernels.balance_kernel, (count,),
            scores, mask["valid"], chunks, starts, sums[0], sums[1], sizes, experts,
            K=top_k, HAS_VALID=mask["HAS_VALID"], **meta,
        )  # fmt: skip
        launch(kernels.balance_finish_kernel, (rows, parts),
            sums[0], sums[1], sizes, chunk_starts, factors, losses, experts,
            experts / (top_k * rows), BLOCK=128, WIDE=columns,
        )  # fmt: skip
        ctx.save_for_backward(scores, valid, chunks, starts, factors)
        ctx.meta = meta
        return losses.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        scores, valid, chunks, starts, factors = ctx.saved_tensors
        dscores = torch.empty_like(scores)
        launch(kernels.balance_backward_kernel, (chunks.shape[0],),
            scores, scores if valid is None else valid, chunks, starts, factors, dloss, dscores,
            scores.shape[1], HAS_VALID=valid is not None, **ctx.meta,
        )  # fmt: skip
        return dscores, None, None, None


def balance_loss(
    scores_TE: Tensor, top_k: int, row_lengths: Sequence[int], valid_T: Tensor | None = None
) -> Tensor:
    """Same contract as `reference.balance_loss`."""
    valid = None if valid_T is None else valid_T.contiguous()
    return _Balance.apply(scores_TE.contiguous(), valid, top_k, tuple(row_lengths))
