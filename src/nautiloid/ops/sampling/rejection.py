"""Speculative sampling: drafts are kept or replaced so that tokens follow the target exactly.

A draft d that was drawn from q is kept with probability min(1, p(d) / q(d)); the first one that is not
is replaced by a draw from max(0, p - q), renormalised; when all are kept one more token is drawn from
the last p (Leviathan et al., arXiv 2211.17192; Chen et al., arXiv 2302.01318).

Suffixes: B requests, K drafts a request, T = K + 1 positions, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nautiloid.ops.sampling.counters import ACCEPT, DRAFT, SAMPLE, uniforms


def invert(weights_BV: Tensor, uniforms_B: Tensor) -> Tensor:
    """Index [B] where the cumulative weights pass a share `uniforms_B` of their sum.

    >>> invert(torch.tensor([[1.0, 0.0, 3.0]]), torch.tensor([0.5])).item()
    2
    """
    cumulative_BV = weights_BV.double().cumsum(-1)
    point_B1 = uniforms_B.double()[:, None] * cumulative_BV[:, -1:]
    index_B1 = torch.searchsorted(cumulative_BV, point_B1, right=True)
    return index_B1[:, 0].clamp_(max=weights_BV.shape[1] - 1)


def draw_drafts(logits_BV: Tensor, seeds_B: Tensor, positions_B: Tensor) -> tuple[Tensor, Tensor]:
    """Draft one token a row; its ids [B] and the distribution q [B, V] that it was drawn from.

    Args:
        logits_BV: Filtered logits of the draft model.
        seeds_B: Of the requests.
        positions_B: Index of the token that is drafted.
    """
    q_BV = logits_BV.softmax(-1)
    return invert(q_BV, uniforms(seeds_B, positions_B, DRAFT)), q_BV


def reject(
    logits_BTV: Tensor,
    drafts_BK: Tensor,
    counts_B: Tensor,
    q_BKV: Tensor | None,
    seeds_B: Tensor,
    positions_B: Tensor,
    *,
    forced_acceptance: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Keep a prefix of each request's drafts and draw the token after it.

    Args:
        logits_BTV: Filtered target logits, excluded tokens at -inf; row k is what draft k is held
            against. Rows beyond a request's drafts and the one after them are not read.
        drafts_BK: Drafted ids, anything beyond the counts.
        counts_B: Drafts of each request, 0 to K.
        q_BKV: What each draft was drawn from; None when drafts are not random.
        seeds_B: Of the requests.
        positions_B: Index of the first drafted token.
        forced_acceptance: Keep each draft with this probability, whatever it is; the tokens then
            follow no distribution. For benchmarks only.

    Returns:
        Kept drafts [B]; ids [B, T], of which the kept drafts and the one after them count; their log
        probabilities under the target [B, T], NaN where its logits are not finite.

    >>> certain = torch.tensor([[[0.0, -torch.inf], [-torch.inf, 0.0]]])
    >>> zero = torch.zeros(1, dtype=torch.long)
    >>> kept, ids, _ = reject(certain, torch.tensor([[0]]), zero + 1, None, zero, zero)
    >>> kept.item(), ids.tolist()
    (1, [[0, 1]])
    """
    B, T, V = logits_BTV.shape
    K = T - 1
    rows_B = torch.arange(B, device=logits_BTV.device)
    logp_BTV = logits_BTV.log_softmax(-1)
    kept_B = torch.zeros_like(counts_B)
    safe_BK = drafts_BK.clamp(0, V - 1)
    if K > 0:
        at_BK = positions_B[:, None] + torch.arange(K, device=positions_B.device)
        u_BK = uniforms(seeds_B[:, None], at_BK, ACCEPT)
        p_BK = logp_BTV[:, :K].gather(2, safe_BK[..., None])[..., 0].double().exp()
        q_BK = torch.ones_like(p_BK)
        if q_BKV is not None:
            q_BK = q_BKV.gather(2, safe_BK[..., None])[..., 0].double()
        keeps_BK = u_BK * q_BK < p_BK if forced_acceptance is None else u_BK < forced_acceptance
        keeps_BK &= torch.arange(K, device=counts_B.device) < counts_B[:, None]
        kept_B = keeps_BK.long().cumprod(1).sum(1)
    p_BV = logp_BTV[rows_B, kept_B].double().exp()
    weights_BV = p_BV
    if K > 0 and forced_acceptance is None:
        is_rejected_B = kept_B < counts_B
        at_B = kept_B.clamp(max=K - 1)
        if q_BKV is not None:
            rest_BV = (p_BV - q_BKV[rows_B, at_B].double()).clamp_(min=0)
        else:
            rest_BV = p_BV.scatter(1, safe_BK[rows_B, at_B][:, None], 0.0)
        # nothing left means that p and q agree but for rounding
        is_rejected_B &= rest_BV.sum(-1) > 0
        weights_BV = torch.where(is_rejected_B[:, None], rest_BV, p_BV)
    last_B = invert(weights_BV, uniforms(seeds_B, positions_B + kept_B, SAMPLE))
    ids_BT = drafts_BK.new_zeros(B, T)
    ids_BT[:, :K] = safe_BK
    ids_BT[rows_B, kept_B] = last_B
    return kept_B, ids_BT, logp_BTV.gather(2, ids_BT[..., None])[..., 0]
