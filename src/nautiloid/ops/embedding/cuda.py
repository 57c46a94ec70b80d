"""The embedding's gradient by sorting: float32, and the same bits in every run.

Suffixes: T tokens, V vocabulary, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nautiloid.ops.embedding.kernels import add_rows_kernel
from nautiloid.ops.main_grad import main_grad
from nautiloid.ops.tuning import tuned


def add_rows(dy_TD: Tensor, tokens_T: Tensor, out_VD: Tensor) -> None:
    """`out[tokens[t]] += dy[t]` for all t, each row summed in the order of t.

    Args:
        dy_TD: Rows with a dense last dim.
        tokens_T: int64 ids.
        out_VD: float32, contiguous.
    """
    if tokens_T.numel() == 0:
        return
    ids, order = tokens_T.sort(stable=True)
    launch: dict[str, Any] = tuned("embedding_add_rows", BLOCK_T=16, BLOCK_D=256, num_warps=1)
    T, D = dy_TD.shape
    grid = (T, -(-D // launch["BLOCK_D"]))
    add_rows_kernel[grid](dy_TD, ids, order, out_VD, T, D, dy_TD.stride(0), **launch)


class _Embedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, tokens: Tensor) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.main_grad = main_grad(weight)
        return F.embedding(tokens, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[None, None]:  # type: ignore[override]
        (tokens,) = ctx.saved_tensors
        dy = dy if dy.stride(-1) == 1 else dy.contiguous()
        add_rows(dy, tokens, ctx.main_grad)
        return None, None


def embedding(tokens_T: Tensor, weight_VD: Tensor) -> Tensor:
    """Rows of a table that has a `main_grad`."""
    return _Embedding.apply(weight_VD, tokens_T)
