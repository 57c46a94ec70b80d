"""Losses of the output head with the full [T, V] logits: obvious, and only for tests.

Suffixes: T tokens, D width, V vocabulary, K teacher's best tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _logprobs(hidden_TD: Tensor, weight_VD: Tensor, temperature: float = 1.0) -> Tensor:
    wide = torch.promote_types(hidden_TD.dtype, torch.float32)
    return ((hidden_TD @ weight_VD.T).to(wide) / temperature).log_softmax(-1)


def cross_entropy(
    hidden_TD: Tensor, weight_VD: Tensor, targets_T: Tensor, weight_T: Tensor, z_loss: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Weighted sums of the cross-entropy and of `z_loss * logsumexp^2`.

    >>> ce, z = cross_entropy(torch.zeros(1, 2), torch.zeros(4, 2), torch.tensor([1]), torch.ones(1))
    >>> round(ce.item(), 4)
    1.3863
    """
    wide = torch.promote_types(hidden_TD.dtype, torch.float32)
    logits = (hidden_TD @ weight_VD.T).to(wide)
    lse = logits.logsumexp(-1)
    ce = lse - logits.gather(1, targets_T[:, None])[:, 0]
    return (weight_T * ce).sum(), z_loss * (weight_T * lse.square()).sum()


def logprobs(
    hidden_TD: Tensor, weight_VD: Tensor, targets_T: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log probability of each target and entropy of each distribution at a temperature.

    >>> lp, h = logprobs(torch.zeros(1, 2), torch.zeros(4, 2), torch.tensor([1]))
    >>> round(lp.item(), 4), round(h.item(), 4)
    (-1.3863, 1.3863)
    """
    lp = _logprobs(hidden_TD, weight_VD, temperature)
    return lp.gather(1, targets_T[:, None])[:, 0], -(lp.exp() * lp).sum(-1)


def kl(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    teacher_hidden_TC: Tensor,
    teacher_weight_VC: Tensor,
    weight_T: Tensor,
    direction: str = "forward",
    temperature: float = 1.0,
) -> Tensor:
    """Weighted sum of KL(teacher, student) (`forward`) or KL(student, teacher) (`reverse`).

    >>> kl(torch.zeros(1, 2), torch.ones(3, 2), torch.zeros(1, 2), torch.ones(3, 2), torch.ones(1)).item()
    0.0
    """
    student = _logprobs(hidden_TD, weight_VD, temperature)
    teacher = _logprobs(teacher_hidden_TC, teacher_weight_VC, temperature)
    p, q = (teacher, student) if direction == "forward" else (student, teacher)
    return (weight_T * (p.exp() * (p - q)).sum(-1)).sum()


def kl_top(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    teacher_ids_TK: Tensor,
    teacher_logprobs_TK: Tensor,
    weight_T: Tensor,
    direction: str = "forward",
    temperature: float = 1.0,
) -> Tensor:
    """KL over the teacher's best tokens and one event for all others.

    >>> ids, log_half = torch.tensor([[2]]), torch.tensor([[-0.6931472]])
    >>> round(kl_top(torch.zeros(1, 2), torch.ones(4, 2), ids, log_half, torch.ones(1)).item(), 4)
    0.1438
    """

    def events(best: Tensor) -> Tensor:
        return torch.cat([best, torch.log1p(-best.exp().sum(-1, keepdim=True))], -1)

    student = events(_logprobs(hidden_TD, weight_VD, temperature).gather(1, teacher_ids_TK))
    teacher = events(teacher_logprobs_TK.to(student.dtype))
    p, q = (teacher, student) if direction == "forward" else (student, teacher)
    return (weight_T * (p.exp() * (p - q)).sum(-1)).sum()
