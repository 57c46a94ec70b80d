"""Drawing tokens on a GPU: the host waits for nothing, and all shapes follow from the batch.

Suffixes: B rows, V vocabulary, C parts of a row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nautiloid.ops.launch import blocks, launch, power_of_2
from nautiloid.ops.sampling.draw import Filters, Target
from nautiloid.ops.sampling.kernels import floor_kernel, parts_kernel, pick_kernel

# part of a row; the order of the sums, and so the bits of the log probabilities, depend on it
PART = 4096


def floors(logits_BV: Tensor, temperature_B: Tensor, filters: Filters) -> Tensor:
    """The least scaled logit [B] that the filters keep; logits equal to it are all kept.

    Args:
        logits_BV: With a dense last dim.
        temperature_B: float32, 0 is greedy and keeps all.
    """
    B, V = logits_BV.shape
    floor_B = torch.empty(B, dtype=torch.float32, device=logits_BV.device)
    settings = (temperature_B, filters.min_p_B, filters.top_k_B, filters.top_p_B)
    block = min(PART, power_of_2(V))
    launch(
        floor_kernel, (B,), logits_BV, *settings, floor_B, V, logits_BV.stride(0),
        BLOCK=block, num_warps=8,
    )  # fmt: skip
    return floor_B


def sample(
    logits_BV: Tensor,
    temperature_B: Tensor,
    seeds_B: Tensor,
    positions_B: Tensor,
    target: Target | None = None,
    newest: Tensor | None = None,
    slots_B: Tensor | None = None,
    floor_B: Tensor | None = None,
) -> Target:
    """Draw one token a row; the same as `reference.sample` at `counters.uniforms` but for rounding.

    Args:
        logits_BV: Raw logits of any float dtype with a dense last dim.
        temperature_B: float32, 0 is greedy.
        seeds_B: int64.
        positions_B: int32, how many tokens the request has drawn.
        target: Where the tokens go; None makes room.
        newest: int32, newest token of each slot, updated; None when nobody reads it.
        slots_B: int32 slot of each row.
        floor_B: Scaled logits below it are excluded (`floors`).
    """
    B, V = logits_BV.shape
    device = logits_BV.device
    block = min(PART, power_of_2(V))
    C = blocks(V, block)
    target = target or Target.empty(B, device)
    tops, sums = torch.empty(2, B, C, dtype=torch.float32, device=device)
    bests = torch.empty(B, C, dtype=torch.int32, device=device)
    parts = (tops, sums, bests)
    row = logits_BV.stride(0)
    launch(
        parts_kernel, (B, C), logits_BV, temperature_B, floor_B, *parts, V, row, C,
        BLOCK=block, HAS_FLOOR=floor_B is not None, num_warps=4,
    )  # fmt: skip
    launch(
        pick_kernel, (B,), logits_BV, temperature_B, floor_B, *parts, seeds_B, positions_B,
        slots_B, newest, target.ids_B, target.logprobs_B, V, row, C,
        BLOCK=block, BLOCK_C=power_of_2(C), HAS_FLOOR=floor_B is not None,
        HAS_SLOTS=newest is not None, num_warps=8,
    )  # fmt: skip
    return target
