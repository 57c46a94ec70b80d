"""Losses of the output head in chunks of tokens: the full [T, V] logits never exist.

Where gradients are wanted they are formed chunk by chunk in the forward, while the logits of the
chunk are at hand, and only scaled in the backward. Extra memory: one chunk of logits, one [T, D]
and one [V, D] gradient.

Suffixes: T tokens, D width, V vocabulary, C teacher width, K teacher's best tokens.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# about this many logits a chunk: large enough for efficient products, small enough for caches
CHUNK_LOGITS = 1 << 21


class HeadLoss(NamedTuple):
    """Weighted sums over tokens; divide by the sum of weights for a mean.

    `total` is cross-entropy plus z-loss and carries the gradient; `z` is the z-loss alone, detached.
    """

    total: Tensor
    z: Tensor


def _chunk_tokens(vocabulary: int) -> int:
    return max(64, min(4096, CHUNK_LOGITS // vocabulary // 64 * 64))


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        weight_T: Tensor,
        z_loss: float,
        chunk: int,
        wants_grad: bool,
    ) -> tuple[Tensor, Tensor]:
        wide = _wide(hidden)
        needs_hidden, needs_weight = (wants_grad and need for need in ctx.needs_input_grad[:2])
        d_hidden = torch.empty_like(hidden) if needs_hidden else None
        d_weight = torch.zeros_like(weight, dtype=wide) if needs_weight else None
        ce_sum = hidden.new_zeros((), dtype=torch.float64)
        z_sum = hidden.new_zeros((), dtype=torch.float64)
        for a in range(0, hidden.shape[0], chunk):
            rows = slice(a, a + chunk)
            h, w_T = hidden[rows], weight_T[rows].to(wide)
            logits = (h @ weight.t()).to(wide)
            lse = logits.logsumexp(-1)
            picked = logits.gather(1, targets[rows, None])[:, 0]
            ce_sum += (w_T * (lse - picked)).sum(dtype=torch.float64)
            if z_loss:
                z_sum += z_loss * (w_T * lse.square()).sum(dtype=torch.float64)
            if d_hidden is None and d_weight is None:
                continue
            # d(ce + z)/dlogits = w (p (1 + 2 z lse) - onehot)
            scale = w_T * (1 + 2 * z_loss * lse) if z_loss else w_T
            d_logits = logits.sub_(lse[:, None]).exp_().mul_(scale[:, None])
            d_logits.scatter_add_(1, targets[rows, None], -w_T[:, None])
            if d_hidden is not None:
                torch.mm(d_logits.to(weight.dtype), weight, out=d_hidden[rows])
            if d_weight is not None:
                d_weight.addmm_(d_logits.t(), h.to(wide))
        ctx.save_for_backward(d_hidden, d_weight)
        ctx.dtype = weight.dtype
        return (ce_sum + z_sum).to(wide), z_sum.to(wide)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_total: Tensor, d_z: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        d_hidden, d_weight = ctx.saved_tensors
        if d_hidden is not None:
            d_hidden = d_hidden * d_total.to(d_hidden.dtype)
        if d_weight is not None:
            d_weight = (d_weight * d_total).to(ctx.dtype)
        return d_hidden, d_weight, None, None, None, None, None


def cross_entropy(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    targets_T: Tensor,
    weight_T: Tensor,
    *,
    z_loss: float = 0.0,
    chunk_tokens: int | None = None,
    grad_scale: float | None = None,
) -> HeadLoss:
    """Weighted sum of the cross-entropy plus `z_loss * logsumexp^2`.

    Args:
        hidden_TD: Final hidden states.
        weight_VD: The head.
        targets_T: Ids to predict.
        weight_T: Weight of each target.
        z_loss: Weight of the z-loss.
        chunk_tokens: Tokens whose logits exist at a time.
        grad_scale: The gradient that `total` will receive, where it is known before. A GPU then adds
            the gradient of a head with a `main_grad` there already in the forward, which must be
            followed by one backward; another gradient than promised makes that sum NaN.

    >>> out = cross_entropy(torch.zeros(1, 2), torch.zeros(4, 2), torch.tensor([1]), torch.ones(1))
    >>> round(out.total.item(), 4)
    1.3863
    """
    if hidden_TD.device.type == "cpu":
        # prompts and padding have no weight: they need no logits (a GPU would wait for the count)
        kept = weight_T.nonzero().flatten()
        if kept.numel() < weight_T.numel():
            hidden_TD = hidden_TD.index_select(0, kept)
            targets_T, weight_T = targets_T[kept], weight_T[kept]
    chunk = chunk_tokens or _chunk_tokens(weight_VD.shape[0])
    total, z = _CrossEntropy.apply(
        hidden_TD, weight_VD, targets_T, weight_T, z_loss, chunk, torch.is_grad_enabled()
    )
    return HeadLoss(total, z.detach())


class _LogProbs(torch.autograd.Function):
    """Log probability and entropy; the backward recomputes the logits of each chunk."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, chunk: int
    ) -> tuple[Tensor, Tensor]:
        wide = _wide(hidden)
        lp = hidden.new_empty(hidden.shape[0], dtype=wide)
        entropy = torch.empty_like(lp)
        for a in range(0, hidden.shape[0], chunk):
            rows = slice(a, a + chunk)
            logp = ((hidden[rows] @ weight.t()).to(wide) / temperature).log_softmax(-1)
            lp[rows] = logp.gather(1, targets[rows, None])[:, 0]
            entropy[rows] = -(logp.exp() * logp).sum(-1)
        ctx.save_for_backward(hidden, weight, targets, entropy)
        ctx.temperature, ctx.chunk = temperature, chunk
        return lp, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_lp: Tensor, d_entropy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, targets, entropy = ctx.saved_tensors
        wide = _wide(hidden)
        d_hidden = torch.empty_like(hidden)
        d_weight = torch.zeros_like(weight, dtype=wide)
        for a in range(0, hidden.shape[0], ctx.chunk):
            rows = slice(a, a + ctx.chunk)
            h = hidden[rows]
            logp = ((h @ weight.t()).to(wide) / ctx.temperature).log_softmax(-1)
            p = logp.exp()
            # d lp / d logits = onehot - p ; d H / d logits = -p (logp + H)
            d = -p * (d_lp[rows, None] + d_entropy[rows, None] * (logp + entropy[rows, None]))
            d.scatter_add_(1, targets[rows, None], d_lp[rows, None].to(wide))
            d /= ctx.temperature
            torch.mm(d.to(weight.dtype), weight, out=d_hidden[rows])
            d_weight.addmm_(d.t(), h.to(wide))
        return d_hidden, d_weight.to(weight.dtype), None, None, None


def logprobs(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    targets_T: Tensor,
    temperature: float = 1.0,
    *,
    chunk_tokens: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Log probability of each target and entropy of each distribution at a temperature, both [T].

    >>> lp, h = logprobs(torch.zeros(1, 2), torch.zeros(4, 2), torch.tensor([1]))
    >>> round(lp.item(), 4), round(h.item(), 4)
    (-1.3863, 1.3863)
    """
    chunk = chunk_tokens or _chunk_tokens(weight_VD.shape[0])
    return _LogProbs.apply(hidden_TD, weight_VD, targets_T, temperature, chunk)


class _KL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        t_hidden: Tensor,
        t_weight: Tensor,
        weight_T: Tensor,
        is_forward: bool,
        temperature: float,
        chunk: int,
        wants_grad: bool,
    ) -> Tensor:
        wide = _wide(hidden)
        needs_hidden, needs_weight = (wants_grad and need for need in ctx.needs_input_grad[:2])
        d_hidden = torch.empty_like(hidden) if needs_hidden else None
        d_weight = torch.zeros_like(weight, dtype=wide) if needs_weight else None
        total = hidden.new_zeros((), dtype=torch.float64)
        for a in range(0, hidden.shape[0], chunk):
            rows = slice(a, a + chunk)
            h, w_T = hidden[rows], weight_T[rows].to(wide)
            student = ((h @ weight.t()).to(wide) / temperature).log_softmax(-1)
            teacher = ((t_hidden[rows] @ t_weight.t()).to(wide) / temperature).log_softmax(-1)
            if is_forward:
                kl_T = (teacher.exp() * (teacher - student)).sum(-1)
                d = student.exp() - teacher.exp()
            else:
                gap = student - teacher
                p = student.exp()
                kl_T = (p * gap).sum(-1)
                d = p * (gap - kl_T[:, None])
            total += (w_T * kl_T).sum(dtype=torch.float64)
            d *= (w_T / temperature)[:, None]
            if d_hidden is not None:
                torch.mm(d.to(weight.dtype), weight, out=d_hidden[rows])
            if d_weight is not None:
                d_weight.addmm_(d.t(), h.to(wide))
        ctx.save_for_backward(d_hidden, d_weight)
        ctx.dtype = weight.dtype
        return total.to(wide)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_total: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        d_hidden, d_weight = ctx.saved_tensors
        if d_hidden is not None:
            d_hidden = d_hidden * d_total.to(d_hidden.dtype)
        if d_weight is not None:
            d_weight = (d_weight * d_total).to(ctx.dtype)
        return d_hidden, d_weight, None, None, None, None, None, None, None


def kl(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    teacher_hidden_TC: Tensor,
    teacher_weight_VC: Tensor,
    weight_T: Tensor,
    *,
    direction: Literal["forward", "reverse"] = "forward",
    temperature: float = 1.0,
    chunk_tokens: int | None = None,
) -> Tensor:
    """Weighted sum over tokens of KL(teacher, student) (`forward`) or KL(student, teacher) (`reverse`).

    The teacher gets no gradient. Multiply by temperature^2 to keep gradient sizes comparable.

    >>> kl(torch.zeros(1, 2), torch.ones(3, 2), torch.zeros(1, 2), torch.ones(3, 2), torch.ones(1)).item()
    0.0
    """
    chunk = chunk_tokens or _chunk_tokens(weight_VD.shape[0])
    return _KL.apply(
        hidden_TD,
        weight_VD,
        teacher_hidden_TC,
        teacher_weight_VC,
        weight_T,
        direction == "forward",
        temperature,
        chunk,
        torch.is_grad_enabled(),
    )


class _KLTop(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        ids: Tensor,
        teacher: Tensor,
        weight_T: Tensor,
        is_forward: bool,
        temperature: float,
        chunk: int,
        wants_grad: bool,
    ) -> Tensor:
        wide = _wide(hidden)
        needs_hidden, needs_weight = (wants_grad and need for need in ctx.needs_input_grad[:2])
        d_hidden = torch.empty_like(hidden) if needs_hidden else None
        d_weight = torch.zeros_like(weight, dtype=wide) if needs_weight else None
        total = hidden.new_zeros((), dtype=torch.float64)
        for a in range(0, hidden.shape[0], chunk):
            rows = slice(a, a + chunk)
            h, w_T = hidden[rows], weight_T[rows].to(wide)
            d = ((h @ weight.t()).to(wide) / temperature).log_softmax(-1)
            s_log, t_log = d.gather(1, ids[rows]), teacher[rows].to(wide)
            q, p = s_log.exp(), t_log.exp()
            # what is left to all other tokens; rounding must not make it negative
            q_rest, p_rest = ((1 - x.sum(-1)).clamp(min=1e-12) for x in (q, p))
            gap, rest = t_log - s_log, p_rest.log() - q_rest.log()
            if is_forward:
                kl_T = (p * gap).sum(-1) + p_rest * rest
                others, best = 1 - p_rest / q_rest, q - p
            else:
                kl_T = -(q * gap).sum(-1) - q_rest * rest
                others, best = -rest - kl_T, q * (-gap - kl_T[:, None])
            total += (w_T * kl_T).sum(dtype=torch.float64)
            d.exp_().mul_(others[:, None]).scatter_(1, ids[rows], best)
            d *= (w_T / temperature)[:, None]
            if d_hidden is not None:
                torch.mm(d.to(weight.dtype), weight, out=d_hidden[rows])
            if d_weight is not None:
                d_weight.addmm_(d.t(), h.to(wide))
        ctx.save_for_backward(d_hidden, d_weight)
        ctx.dtype = weight.dtype
        return total.to(wide)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_total: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        d_hidden, d_weight = ctx.saved_tensors
        if d_hidden is not None:
            d_hidden = d_hidden * d_total.to(d_hidden.dtype)
        if d_weight is not None:
            d_weight = (d_weight * d_total).to(ctx.dtype)
        return d_hidden, d_weight, *[None] * 7


def kl_top(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    teacher_ids_TK: Tensor,
    teacher_logprobs_TK: Tensor,
    weight_T: Tensor,
    *,
    direction: Literal["forward", "reverse"] = "forward",
    temperature: float = 1.0,
    chunk_tokens: int | None = None,
) -> Tensor:
    """As `kl`, from the teacher's best tokens alone: all other tokens count as one event.

    That makes it a KL of two distributions, never above the full one. The ids of a row differ; the
    log probabilities are the teacher's at the same temperature.

    >>> ids, log_half = torch.tensor([[2]]), torch.tensor([[-0.6931472]])
    >>> round(kl_top(torch.zeros(1, 2), torch.ones(4, 2), ids, log_half, torch.ones(1)).item(), 4)
    0.1438
    """
    chunk = chunk_tokens or _chunk_tokens(weight_VD.shape[0])
    return _KLTop.apply(
        hidden_TD,
        weight_VD,
        teacher_ids_TK,
        teacher_logprobs_TK,
        weight_T,
        direction == "forward",
        temperature,
        chunk,
        torch.is_grad_enabled(),
    )
