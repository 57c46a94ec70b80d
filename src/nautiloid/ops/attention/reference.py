"""Softmax attention of packed sequences by its formula (specs/architecture 2.4).

Suffixes: T new tokens, Q query heads, V key/value heads, H head width, L keys of a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def attend(
    q_TQH: Tensor,
    k_LVH: Tensor,
    v_LVH: Tensor,
    *,
    scale: float,
    is_causal: bool = True,
    window: int | None = None,
    sinks_Q: Tensor | None = None,
) -> Tensor:
    """One sequence: T queries are the last T of L positions; softmax in float32, then cast.

    Args:
        q_TQH: Queries; head j uses key/value head `j // (Q / V)`.
        k_LVH: Keys of all positions so far.
        v_LVH: Values.
        scale: Factor on the scores.
        is_causal: Whether a query sees no later key.
        window: Number of newest keys a query sees, itself included; None is all.
        sinks_Q: One extra logit a head that takes probability and adds nothing.

    >>> q = torch.zeros(2, 1, 1)
    >>> attend(q, q, torch.tensor([[[2.0]], [[4.0]]]), scale=1.0).flatten().tolist()
    [2.0, 3.0]
    """
    T, L = q_TQH.shape[0], k_LVH.shape[0]
    share = q_TQH.shape[1] // k_LVH.shape[1]
    k, v = (x.repeat_interleave(share, dim=1) for x in (k_LVH, v_LVH))
    wide = torch.promote_types(q_TQH.dtype, torch.float32)
    scores = torch.einsum("tqh,lqh->qtl", q_TQH, k).to(wide) * scale
    at = torch.arange(L - T, L, device=q_TQH.device)[:, None]
    keys = torch.arange(L, device=q_TQH.device)[None]
    hidden = torch.zeros(T, L, dtype=torch.bool, device=q_TQH.device)
    if is_causal:
        hidden |= keys > at
    if window is not None:
        hidden |= keys <= at - window
        if not is_causal:
            hidden |= keys >= at + window
    scores = scores.masked_fill(hidden, -torch.inf)
    if sinks_Q is not None:
        sink = sinks_Q.to(wide)[:, None, None].expand(-1, T, 1)
        probs = torch.cat([scores, sink], -1).softmax(-1)[..., :-1]
    else:
        probs = scores.softmax(-1)
    return torch.einsum("qtl,lqh->tqh", probs.to(v.dtype), v)


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
    """Packed sequences that never see each other.

    >>> q = torch.zeros(2, 1, 1)
    >>> attention(q, q, torch.tensor([[[2.0]], [[4.0]]]), [1, 1], scale=1.0).flatten().tolist()
    [2.0, 4.0]
    """
    sizes = list(lengths)
    parts = zip(q_TQH.split(sizes), k_TVH.split(sizes), v_TVH.split(sizes), strict=True)
    return torch.cat(
        [
            attend(q, k, v, scale=scale, is_causal=is_causal, window=window, sinks_Q=sinks_Q)
            for q, k, v in parts
        ]
    )
