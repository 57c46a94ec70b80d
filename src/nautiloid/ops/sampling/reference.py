"""Drawing tokens from logits: temperature, top-k, top-p, min-p.

Suffixes: B requests, V vocabulary. The order of the filters is that of vLLM: temperature, min-p,
top-k, top-p, each on the renormalised rest.
"""

from __future__ import annotations

import torch
from torch import Tensor


def filter_logits(
    logits_BV: Tensor,
    temperature_B: Tensor,
    top_k_B: Tensor,
    top_p_B: Tensor,
    min_p_B: Tensor,
    *,
    looks: bool = True,
) -> Tensor:
    """Scaled logits with excluded tokens at -inf; rows of temperature 0 keep only their best token.

    Args:
        looks: See which filters anybody uses and leave the others out, which waits for a GPU.

    >>> one = torch.ones(1)
    >>> logits = torch.tensor([[1.0, 3.0, 2.0]])
    >>> filter_logits(logits, one, torch.tensor([2]), one, one * 0).tolist()
    [[-inf, 3.0, 2.0]]
    """
    greedy_B = temperature_B == 0
    scaled = (
        logits_BV / torch.where(greedy_B, torch.ones_like(temperature_B), temperature_B)[:, None]
    )
    best_B = logits_BV.argmax(-1)
    size = logits_BV.shape[1]
    if not looks or bool((min_p_B > 0).any()):
        floor = scaled.amax(-1, keepdim=True) + min_p_B.log()[:, None]
        scaled = scaled.masked_fill(scaled < floor, -torch.inf)
    if not looks or bool((top_k_B > 0).any()) or bool((top_p_B < 1).any()):
        ordered, index = scaled.sort(-1, descending=True)
        rank = torch.arange(size, device=scaled.device)
        drop = (top_k_B > 0)[:, None] & (rank >= top_k_B[:, None])
        probs = ordered.masked_fill(drop, -torch.inf).softmax(-1)
        # a token stays while the mass before it is below top_p, so the best one always stays
        drop |= (probs.cumsum(-1) - probs) >= top_p_B[:, None]
        drop[:, 0] = False
        scaled = scaled.masked_fill(torch.zeros_like(drop).scatter_(1, index, drop), -torch.inf)
    if not looks or bool(greedy_B.any()):
        only = torch.full_like(scaled, -torch.inf).scatter_(1, best_B[:, None], 0.0)
        scaled = torch.where(greedy_B[:, None], only, scaled)
    return scaled


def sample(
    logits_BV: Tensor,
    temperature_B: Tensor,
    top_k_B: Tensor,
    top_p_B: Tensor,
    min_p_B: Tensor,
    uniforms_B: Tensor,
) -> tuple[Tensor, Tensor]:
    """Draw one token a row by inverting the cumulative distribution at `uniforms_B`.

    Args:
        logits_BV: Raw logits.
        temperature_B: 0 is greedy.
        top_k_B: Tokens kept, 0 is all.
        top_p_B: Probability mass kept.
        min_p_B: Least share of the best token's probability.
        uniforms_B: Numbers in [0, 1), float64.

    Returns:
        Ids [B] and their log probabilities under the filtered distribution [B]; for greedy rows the
        log probability under the plain softmax.

    >>> one = torch.ones(1)
    >>> ids, lp = sample(torch.tensor([[0.0, 0.0]]), one, one.long() * 0, one, one * 0, one * 0.7)
    >>> ids.item(), round(lp.item(), 4)
    (1, -0.6931)
    """
    filtered = filter_logits(logits_BV, temperature_B, top_k_B, top_p_B, min_p_B)
    logp = filtered.log_softmax(-1)
    cumulative = logp.double().exp().cumsum(-1)
    # scaling by the total keeps rounding from leaving a gap at the end
    point = uniforms_B.double()[:, None] * cumulative[:, -1:]
    ids = torch.searchsorted(cumulative, point, right=True).clamp_(max=logits_BV.shape[1] - 1)
    greedy_B = temperature_B == 0
    plain = logits_BV.log_softmax(-1)
    logp = torch.where(greedy_B[:, None], plain, logp)
    return ids[:, 0], logp.gather(1, ids)[:, 0]
