"""Routing and routed experts by their formulas (specs/architecture 2.6, 6).

Suffixes: T tokens, E experts, K chosen experts, L expert input width, M expert width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Score = Literal["sigmoid", "softmax"]
Activation = Literal["relu2", "silu"]
# up, down and gate of experts
Weights = tuple[Tensor, Tensor, Tensor | None]


class Routing(NamedTuple):
    """Choice and weights of each token, and the scores the balance loss needs."""

    experts_TK: Tensor
    weights_TK: Tensor
    scores_TE: Tensor


def choose(
    scores_TE: Tensor, bias_E: Tensor | None, top_k: int, n_group: int, topk_group: int
) -> Tensor:
    """Indices of the k best biased scores, best first, inside the best groups.

    A group's score is the sum of its two best biased scores; experts of dropped groups cannot be chosen.

    >>> choose(torch.tensor([[0.1, 0.9, 0.5, 0.2]]), None, 2, 1, 1).tolist()
    [[1, 2]]
    """
    choice = scores_TE if bias_E is None else scores_TE + bias_E
    if n_group > 1 and topk_group < n_group:
        grouped = choice.view(-1, n_group, choice.shape[-1] // n_group)
        best = grouped.topk(2, dim=-1).values.sum(-1).topk(topk_group, dim=-1).indices
        keep = torch.zeros_like(grouped[..., 0], dtype=torch.bool).scatter_(1, best, True)
        choice = grouped.masked_fill(~keep[..., None], -torch.inf).flatten(1)
    return choice.topk(top_k, dim=-1).indices


def route(
    logits_TE: Tensor,
    bias_E: Tensor | None,
    top_k: int,
    *,
    n_group: int = 1,
    topk_group: int = 1,
    norm_topk_prob: bool = True,
    scaling: float = 1.0,
    score: Score = "sigmoid",
    replay_TK: Tensor | None = None,
) -> Routing:
    """Scores, choice and weights; the bias moves the choice and never the weights.

    Args:
        logits_TE: Router outputs in float32 (float64 for a float64 model).
        bias_E: Correction bias or None.
        top_k: Experts a token.
        n_group: Groups of experts.
        topk_group: Groups that may be chosen from.
        norm_topk_prob: Divide the chosen scores by their sum.
        scaling: Factor on the weights.
        score: Sigmoid (Nemotron) or softmax (Qwen3).
        replay_TK: Choice to use instead of the top-k.

    >>> r = route(torch.tensor([[2.0, 1.0, 0.0, -1.0]]), None, 2, scaling=2.5)
    >>> [round(w, 6) for w in r.weights_TK[0].tolist()]
    [1.366123, 1.133877]
    """
    scores = logits_TE.sigmoid() if score == "sigmoid" else logits_TE.softmax(-1)
    if replay_TK is None:
        experts = choose(scores.detach(), bias_E, top_k, n_group, topk_group)
    else:
        experts = replay_TK.long()
    weights = scores.gather(1, experts)
    if norm_topk_prob:
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
    return Routing(experts, weights * scaling, scores)


def balance_loss(
    scores_TE: Tensor, top_k: int, row_lengths: Sequence[int], valid_T: Tensor | None = None
) -> Tensor:
    """Sequence balance loss with coefficient 1, averaged over packing rows.

    `E / (k T^2) * sum_i (sum_t p_ti) c_i` with p the normalised scores and c the counts of the
    unbiased top-k (no gradient). Tokens where `valid_T` is False count nowhere.

    >>> round(balance_loss(torch.full((4, 4), 0.5), 2, (4,)).item(), 6)
    1.0
    """
    experts = scores_TE.shape[1]
    p_TE = scores_TE / (scores_TE.sum(-1, keepdim=True) + 1e-20)
    with torch.no_grad():
        chosen = scores_TE.topk(top_k, dim=-1).indices
        hits_TE = torch.zeros_like(scores_TE).scatter_(1, chosen, 1.0)
        if valid_T is not None:
            hits_TE *= valid_T[:, None]
    if valid_T is not None:
        p_TE = p_TE * valid_T[:, None]
    sizes = list(row_lengths)
    if valid_T is None:
        tokens = scores_TE.new_tensor(sizes)
    else:
        tokens = torch.stack([v.sum() for v in valid_T.split(sizes)]).to(scores_TE.dtype)
    if len(set(sizes)) == 1:
        shape = (len(sizes), sizes[0], experts)
        p_RE, hits_RE = p_TE.view(shape).sum(1), hits_TE.view(shape).sum(1)
    else:
        p_RE = torch.stack([p.sum(0) for p in p_TE.split(sizes)])
        hits_RE = torch.stack([h.sum(0) for h in hits_TE.split(sizes)])
    return ((p_RE * hits_RE).sum(-1) * experts / (top_k * tokens.clamp(min=1).square())).mean()


class _Relu2(torch.autograd.Function):
    """Keeps relu(x) alone for the backward, in two passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = F.relu(x)
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:  # type: ignore[override]
        (positive,) = ctx.saved_tensors
        return dy * positive * 2


def relu2(x: Tensor) -> Tensor:
    """`relu(x)^2`.

    >>> relu2(torch.tensor([-1.0, 3.0])).tolist()
    [0.0, 9.0]
    """
    if not torch.is_grad_enabled():
        return F.relu(x).square_()
    return _Relu2.apply(x)


def activate(h: Tensor, gate: Tensor | None, activation: Activation) -> Tensor:
    """`relu(h)^2` or `silu(gate) * h`; a gated relu2 squares the gate.

    >>> activate(torch.tensor([-1.0, 3.0]), None, "relu2").tolist()
    [0.0, 9.0]
    """
    inner = h if gate is None else gate
    act = relu2(inner) if activation == "relu2" else F.silu(inner)
    return act if gate is None else act * h


def experts(
    x_TL: Tensor,
    experts_TK: Tensor,
    weights_TK: Tensor,
    up_EML: Tensor,
    down_ELM: Tensor,
    gate_EML: Tensor | None = None,
    activation: Activation = "relu2",
) -> Tensor:
    """`sum_k w_k down_k(act(up_k(x)))`, token by token; the sum runs in float32.

    >>> x, e = torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.long)
    >>> experts(x, e, torch.ones(1, 1), torch.full((1, 1, 1), 2.0), torch.ones(1, 1, 1)).item()
    4.0
    """
    out = torch.zeros_like(x_TL, dtype=torch.promote_types(x_TL.dtype, torch.float32))
    for k in range(experts_TK.shape[1]):
        index = experts_TK[:, k]
        h = torch.einsum("tl,tml->tm", x_TL, up_EML[index])
        gate = None if gate_EML is None else torch.einsum("tl,tml->tm", x_TL, gate_EML[index])
        y = torch.einsum("tm,tlm->tl", activate(h, gate, activation), down_ELM[index])
        out = out + weights_TK[:, k, None] * y
    return out.to(x_TL.dtype)
