"""Load balance without an auxiliary loss: the router's correction bias (specs/architecture 6).

Suffix E: experts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nautiloid.model.blocks.moe.config import MoEConfig
from nautiloid.model.config import ModelConfig


@torch.no_grad()
def update_bias(bias_E: Tensor, counts_E: Tensor, rate: Tensor | float) -> None:
    """Move the bias of each expert by `rate` towards the mean load, in place.

    Args:
        bias_E: float32 correction bias, used for the choice of experts only.
        counts_E: Tokens that the biased choice gave each expert over the whole optimizer step.
        rate: Size of the move (arXiv 2408.15664 equation 3, sign form).
    """
    assert bias_E.dtype == torch.float32, bias_E.dtype
    counts = counts_E.double()
    bias_E.add_((rate * torch.sign(counts.mean() - counts)).to(bias_E.dtype))


def update_biases(
    biases: Sequence[Tensor | None], counts: Sequence[Tensor], rate: Tensor | float
) -> None:
    """Apply `update_bias` to every layer that has a bias; `counts` in the same order.

    Layers beyond the counts (MTP that is not trained) stay as they are.
    """
    assert len(biases) >= len(counts), (len(biases), len(counts))
    for bias_E, counts_E in zip(biases, counts, strict=False):
        if bias_E is not None:
            update_bias(bias_E, counts_E, rate)


def per_layer(config: ModelConfig, counts: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Add up the counts of MTP depths that share one physical set of layers (specs/architecture 4.1).

    Args:
        config: Shape of the model.
        counts: int64 [E] for each MoE layer in the order of execution: trunk, then every depth.

    Returns:
        One count for each physical MoE layer, in the order of `Decoder.moe_layers`.
    """
    trunk = sum(isinstance(block, MoEConfig) for block in config.layers())
    folded, deeper = list(counts[:trunk]), counts[trunk:]
    if config.mtp is None or not deeper:
        return tuple(folded)
    per_set = sum(isinstance(config.blocks[letter], MoEConfig) for letter in config.mtp.pattern)
    for position, counts_E in enumerate(deeper):
        depth, index = divmod(position, per_set)
        at = trunk + min(depth, config.mtp.num_nextn_predict_layers - 1) * per_set + index
        if at == len(folded):
            folded.append(counts_E)
        else:
            folded[at] = folded[at] + counts_E
    return tuple(folded)


def max_vio(counts_E: Tensor) -> float:
    """Load of the busiest expert over the mean load: 1 is balance, E/k the worst.

    >>> max_vio(torch.tensor([4, 3, 1, 0]))
    2.0
    """
    total = int(counts_E.sum())
    return float(counts_E.max()) * counts_E.numel() / total if total else 0.0


def expert_load(counts_E: Tensor) -> list[float]:
    """Share of all choices that each expert received."""
    total = max(1, int(counts_E.sum()))
    return [round(count / total, 6) for count in counts_E.tolist()]
