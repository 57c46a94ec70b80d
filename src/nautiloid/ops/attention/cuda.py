"""Packed attention by the kernels that torch brings: cuDNN for equal lengths, flash for the others.

Neither expands the keys and values of grouped queries, and neither makes the host wait. cuDNN is
twice as fast but needs 0.1 s and more for a plan of every new shape, so that it only gets lengths
which are likely to return.

Suffixes: T tokens, S sequences, Q query heads, V key/value heads, H head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nautiloid.ops.attention import reference, sdpa
from nautiloid.ops.packing import cu_seqlens

_aten = torch.ops.aten
# widest head of the flash kernels
WIDEST_HEAD = 256
# lengths of training rows are multiples of it, those of documents rarely
PLANNED_TOKENS = 128


class _Varlen(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        starts: Tensor,
        longest: int,
        scale: float,
        is_causal: bool,
        window: tuple[int | None, int | None],
    ) -> Tensor:
        left, right = window
        out, lse, rng, _, _ = _aten._flash_attention_forward(
            q, k, v, starts, starts, longest, longest, 0.0, is_causal, False,
            scale=scale, window_size_left=left, window_size_right=right,
        )  # fmt: skip
        ctx.save_for_backward(q, k, v, out, lse, rng, starts)
        ctx.longest, ctx.scale, ctx.is_causal, ctx.window = longest, scale, is_causal, window
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        q, k, v, out, lse, rng, starts = ctx.saved_tensors
        left, right = ctx.window
        gradients = _aten._flash_attention_backward(
            dout.contiguous(), q, k, v, out, lse, starts, starts, ctx.longest, ctx.longest, 0.0,
            ctx.is_causal, rng, rng.new_empty(0), scale=ctx.scale,
            window_size_left=left, window_size_right=right,
        )  # fmt: skip
        return *gradients, None, None, None, None, None


def attention(
    q_TQH: Tensor,
    k_TVH: Tensor,
    v_TVH: Tensor,
    lengths: Sequence[int],
    *,
    scale: float,
    is_causal: bool = True,
    window: int | None = None,
    sinks_Q: Tensor | None = None,
) -> Tensor:
    """Same contract as `reference.attention`; sinks and float32 run as they do on a CPU."""
    H = q_TQH.shape[-1]
    is_plain = is_causal and window is None and sinks_Q is None
    is_planned = len(set(lengths)) == 1 and lengths[0] % PLANNED_TOKENS == 0
    if is_plain and is_planned:
        return sdpa.attention(q_TQH, k_TVH, v_TVH, lengths, scale=scale)
    is_short = q_TQH.dtype in (torch.float16, torch.bfloat16)
    if sinks_Q is not None or not is_short or H > WIDEST_HEAD or H % 8:
        call = sdpa.attention if is_plain else reference.attention
        options = {} if is_plain else {"is_causal": is_causal, "window": window, "sinks_Q": sinks_Q}
        return call(q_TQH, k_TVH, v_TVH, lengths, scale=scale, **options)
    left = None if window is None else window - 1
    right = left if not is_causal else (0 if window is not None else None)
    starts = cu_seqlens(lengths, q_TQH.device)
    return _Varlen.apply(q_TQH, k_TVH, v_TVH, starts, max(lengths), scale, is_causal, (left, right))
