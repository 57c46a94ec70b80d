"""Drawing tokens by seeds and positions, on the device that holds the logits.

Suffixes: B rows, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nautiloid.ops.sampling.counters import uniforms
from nautiloid.ops.sampling.reference import sample


@dataclass(frozen=True)
class Target:
    """Where the drawn tokens go.

    Args:
        ids_B: int32.
        logprobs_B: float32; NaN where a row is not finite.
    """

    ids_B: Tensor
    logprobs_B: Tensor

    @classmethod
    def empty(cls, rows: int, device: torch.device) -> Target:
        """Fresh tensors."""
        return cls(
            torch.empty(rows, dtype=torch.int32, device=device),
            torch.empty(rows, dtype=torch.float32, device=device),
        )


@dataclass(frozen=True)
class Filters:
    """What is excluded before a draw, for each row.

    Args:
        min_p_B: float32, 0 keeps all.
        top_k_B: int32, 0 keeps all.
        top_p_B: float32, 1 keeps all.
    """

    min_p_B: Tensor
    top_k_B: Tensor
    top_p_B: Tensor


def draw(
    logits_BV: Tensor,
    temperature_B: Tensor,
    seeds_B: Tensor,
    positions_B: Tensor,
    target: Target,
    newest: Tensor,
    slots_B: Tensor,
    filters: Filters | None = None,
) -> None:
    """Draw one token a row at its random number; the host never waits for a GPU.

    Args:
        logits_BV: Raw logits.
        temperature_B: float32, 0 is greedy.
        seeds_B: int64.
        positions_B: int32, how many tokens the request has drawn.
        target: Where tokens and log probabilities go.
        newest: int32, newest token of each slot, updated.
        slots_B: int32.
        filters: None keeps all tokens.
    """
    if logits_BV.is_cuda:
        from nautiloid.ops.sampling import cuda

        floor_B = None if filters is None else cuda.floors(logits_BV, temperature_B, filters)
        cuda.sample(
            logits_BV, temperature_B, seeds_B, positions_B, target, newest, slots_B, floor_B
        )
        return
    if filters is None:
        none_B = torch.zeros_like(temperature_B)
        filters = Filters(none_B, none_B.int(), none_B + 1)
    settings = (filters.top_k_B, filters.top_p_B, filters.min_p_B)
    ids_B, logprobs_B = sample(
        logits_BV, temperature_B, *settings, uniforms(seeds_B, positions_B.long())
    )
    target.ids_B.copy_(ids_B)
    target.logprobs_B.copy_(logprobs_B)
    newest[slots_B.long()] = target.ids_B
