"""Attention of sequences over their pages on a GPU.

Suffixes: B sequences, T new tokens of each, X = B T, Q query heads, V key/value heads, H head width,
R rows of all pages, L tokens of all sequences, cached ones included.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nautiloid.ops.attention import kernels
from nautiloid.ops.attention.cuda import WIDEST_HEAD
from nautiloid.ops.launch import blocks, launch, power_of_2
from nautiloid.ops.packing import cu_seqlens
from nautiloid.ops.tuning import tuned

# programs that keep a GPU busy
FULL_PROGRAMS = 256
MOST_SPLITS = 64
FEWEST_SPLITS = 8


@dataclass(frozen=True)
class Pages:
    """Where cached keys and values lie.

    Args:
        keys: [R, V, H].
        values: [R, V, H].
        table: int32 [slots, pages] pages of each slot in order.
        page_tokens: Rows a page.
    """

    keys: Tensor
    values: Tensor
    table: Tensor
    page_tokens: int


@dataclass(frozen=True)
class HeadInputs:
    """What turns projected queries and keys into those that are multiplied.

    Args:
        q_weight_H: Weight of the norm of each query head; None for no norm.
        k_weight_H: Of each key head.
        eps: Of both norms.
        theta: Base of the wavelengths of the rotation.
        width: Rotated channels; 0 for no rotation.
    """

    q_weight_H: Tensor | None = None
    k_weight_H: Tensor | None = None
    eps: float = 0.0
    theta: float = 1.0
    width: int = 0


@functools.lru_cache(maxsize=16)
def _inverse_waves(theta: float, width: int, device: torch.device) -> Tensor:
    """As `rope.rotate` forms them."""
    with torch.inference_mode(False):
        powers = torch.arange(0, width, 2, device=device, dtype=torch.float32) / width
        return 1.0 / theta**powers


def _constants(x_XVH: Tensor, heads: HeadInputs, weight: Tensor | None) -> dict[str, Any]:
    H = x_XVH.shape[2]
    return {
        "H": H, "BH": power_of_2(H), "HAS_NORM": weight is not None, "WIDTH": heads.width,
        "is_chained": True,
    }  # fmt: skip


def _row(x_XVH: Tensor) -> int:
    assert x_XVH.stride()[1:] == (x_XVH.shape[2], 1), x_XVH.stride()
    return x_XVH.stride(0)


def _check(pages: Pages) -> None:
    assert pages.keys.is_contiguous()
    assert pages.values.is_contiguous()
    assert pages.table.stride(1) == 1, pages.table.stride()


def append(
    k_XVH: Tensor,
    v_XVH: Tensor,
    pages: Pages,
    slot_B: Tensor,
    past_B: Tensor,
    heads: HeadInputs = HeadInputs(),
) -> None:
    """Store the keys and values of T tokens of each sequence after those it has."""
    _check(pages)
    X, V, _ = k_XVH.shape
    inverse = _inverse_waves(heads.theta, heads.width, k_XVH.device) if heads.width else None
    launch(
        kernels.append_rows, (X,),
        k_XVH, v_XVH, pages.keys, pages.values, slot_B, past_B, pages.table, heads.k_weight_H,
        inverse, heads.eps, pages.table.stride(0), K_ROW=_row(k_XVH), V_ROW=_row(v_XVH), V=V,
        BV=power_of_2(V), PAGE=pages.page_tokens, T=X // len(slot_B),
        **_constants(k_XVH, heads, heads.k_weight_H), num_warps=4,
    )  # fmt: skip


def _splits(programs: int) -> dict[str, int]:
    """How `programs` sequences and heads are cut, and how their keys are read."""
    if programs >= FULL_PROGRAMS:
        # they share the bandwidth evenly whatever their lengths; only very long ones are cut
        return {"SPLITS": 4, "LEAST": 8192, "BLOCK": 32, "STAGES": 5, "num_warps": 4}
    wanted = power_of_2(blocks(2 * FULL_PROGRAMS, programs))
    least = 64
    while least < 1024 and programs * 1024 // least > 2 * FULL_PROGRAMS:
        least *= 2
    most = min(MOST_SPLITS, max(FEWEST_SPLITS, wanted))
    return {"SPLITS": most, "LEAST": least, "BLOCK": 64, "STAGES": 5, "num_warps": 4}


def decode(
    q_XQH: Tensor,
    k_XVH: Tensor,
    v_XVH: Tensor,
    pages: Pages,
    slot_B: Tensor,
    past_B: Tensor,
    *,
    scale: float,
    heads: HeadInputs = HeadInputs(),
    first_key: int = 0,
) -> Tensor:
    """New tokens of each sequence against all its tokens so far, which they join.

    Args:
        q_XQH: Projected queries, sequence by sequence, T of each.
        k_XVH: Projected keys, stored into their pages on the way.
        v_XVH: Values.
        pages: The cache.
        slot_B: int32, slot of each sequence.
        past_B: int32, tokens that each has in its pages.
        scale: Factor on the scores.
        heads: Norm and rotation of queries and keys.
        first_key: Rows of pages before it hold no keys.

    Returns:
        [X, Q, H].
    """
    _check(pages)
    (X, Q, H), V, batch = q_XQH.shape, k_XVH.shape[1], len(slot_B)
    T = X // batch
    if T > 1:
        append(k_XVH, v_XVH, pages, slot_B, past_B, heads)
    inverse = _inverse_waves(heads.theta, heads.width, q_XQH.device) if heads.width else None
    options = tuned(f"paged_decode_{power_of_2(batch * V)}", **_splits(batch * V))
    options["BLOCK"] = min(options["BLOCK"], math.gcd(pages.page_tokens, 1024))
    shared = {name: options[name] for name in ("SPLITS", "LEAST", "BLOCK")}
    out = q_XQH.new_empty(X, Q, H)
    partial = q_XQH.new_empty(X, options["SPLITS"], Q, H, dtype=torch.float32)
    sums = q_XQH.new_empty(X, options["SPLITS"], Q, dtype=torch.float32)
    constants = _constants(q_XQH, heads, heads.q_weight_H)
    launch(
        kernels.attend_pages, (V, batch, options["SPLITS"]),
        q_XQH, k_XVH, v_XVH, pages.keys, pages.values, slot_B, past_B, pages.table,
        heads.q_weight_H, heads.k_weight_H, inverse, out, partial, sums, heads.eps,
        scale * math.log2(math.e), pages.table.stride(0), Q_ROW=_row(q_XQH), K_ROW=_row(k_XVH),
        V_ROW=_row(v_XVH), Q=Q, V=V, BM=max(16, power_of_2(T * Q // V)), PAGE=pages.page_tokens,
        T=T, FIRST=first_key, **constants, **options,
    )  # fmt: skip
    if options["SPLITS"] > 1:
        heads_each = max(1, min(power_of_2(Q), 64 // options["SPLITS"]))
        launch(
            kernels.join_splits, (blocks(Q, heads_each), X),
            past_B, partial, sums, out, Q=Q, H=H, BH=power_of_2(H), BQ=heads_each, T=T, **shared,
            is_chained=True, num_warps=4,
        )  # fmt: skip
    return out


def gather(
    pages: Pages,
    slot_B: Tensor,
    totals: Sequence[int],
    *,
    dtype: torch.dtype,
    first_key: int = 0,
) -> tuple[Tensor, Tensor]:
    """Keys and values [L, V, H] of all tokens of each sequence, end to end.

    Args:
        pages: The cache.
        slot_B: int32, slot of each sequence.
        totals: Tokens of each sequence, on the host.
        dtype: Of the result.
        first_key: Rows before it hold no keys and are left out.
    """
    _check(pages)
    counts = [total - first_key for total in totals]
    shape = (sum(counts), *pages.keys.shape[1:])
    k, v = (pages.keys.new_empty(shape, dtype=dtype) for _ in range(2))
    row = shape[1] * shape[2]
    options = tuned("gather_pages", ROWS=16, num_warps=4)
    launch(
        kernels.gather_pages, (blocks(max(totals), pages.page_tokens), len(counts)),
        pages.keys, pages.values, slot_B, cu_seqlens(counts, slot_B.device), pages.table, k, v,
        pages.table.stride(0), ROW=row, BLOCK_ROW=power_of_2(row), PAGE=pages.page_tokens,
        FIRST=first_key, **options,
    )  # fmt: skip
    return k, v


def can_extend(q_TQH: Tensor) -> bool:
    """Whether `extend` takes these queries."""
    is_short = q_TQH.dtype in (torch.float16, torch.bfloat16)
    return q_TQH.is_cuda and is_short and q_TQH.shape[2] <= WIDEST_HEAD and q_TQH.shape[2] % 8 == 0


def extend(
    q_TQH: Tensor,
    pages: Pages,
    slot_B: Tensor,
    lengths: Sequence[int],
    totals: Sequence[int],
    *,
    scale: float,
    first_key: int = 0,
) -> Tensor:
    """New tokens of several sequences against all their tokens, which lie in their pages already.

    Args:
        q_TQH: Queries of all sequences laid end to end.
        pages: The cache.
        slot_B: int32, slot of each sequence.
        lengths: New tokens of each.
        totals: All tokens of each.
        scale: Factor on the scores.
        first_key: Rows of pages before it hold no keys.

    Returns:
        TQH.
    """
    k, v = gather(pages, slot_B, totals, dtype=q_TQH.dtype, first_key=first_key)
    counts = [total - first_key for total in totals]
    starts = cu_seqlens(lengths, q_TQH.device), cu_seqlens(counts, q_TQH.device)
    # its causal mask is aligned to the last query and the last key
    return torch.ops.aten._flash_attention_forward(
        q_TQH, k, v, *starts, max(lengths), max(counts), 0.0, True, False, scale=scale
    )[0]
