"""The head losses on a GPU: library products and one kernel a chunk, which turns logits into gradients.

Gradients are formed in the forward, except those of log probabilities, whose weights come later.

Suffixes: T tokens, D width, V vocabulary, C teacher width, K teacher's best tokens.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nautiloid.ops.head import chunked, kernels
from nautiloid.ops.head.chunked import HeadLoss
from nautiloid.ops.launch import blocks, launch, power_of_2
from nautiloid.ops.linear.gradient import add_product
from nautiloid.ops.main_grad import main_grad
from nautiloid.ops.tuning import tuned

# logits of one chunk; fewer chunks add the weight gradient fewer times
CHUNK_BYTES = 900_000_000
# a product of fewer rows, or of a part of a tile, leaves processors idle
TILE_TOKENS = 256


def _chunk_tokens(tokens: int, weight_VD: Tensor) -> int:
    """Equal chunks of whole tiles within the limit."""
    most = CHUNK_BYTES // (weight_VD.shape[0] * weight_VD.element_size())
    most = max(TILE_TOKENS, most // TILE_TOKENS * TILE_TOKENS)
    share = blocks(max(tokens, 1), blocks(max(tokens, 1), most))
    return blocks(share, TILE_TOKENS) * TILE_TOKENS


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _options(name: str, x: Tensor) -> dict[str, Any]:
    defaults = {"STEPS": 4, "BLOCK_V": 8192, "num_warps": 32} if x.is_cuda else {}
    return {
        **({"STEPS": 2, "BLOCK_V": 128} if not defaults else tuned(name, **defaults)),
        "FAST": x.is_cuda,
    }


class _Gradients:
    """Where the gradients of a head go while its chunks pass.

    Args:
        hidden: [T, D].
        weight: [V, D].
        wants: Whether hidden and weight need gradients.
        into: A float32 sum [V, D] that takes the weight's gradient at once.
    """

    def __init__(
        self, hidden: Tensor, weight: Tensor, wants: tuple[bool, bool], into: Tensor | None
    ):
        self.weight = weight
        self.d_hidden = torch.empty_like(hidden) if wants[0] else None
        self.is_first = into is None
        self.d_weight = None
        if wants[1]:
            self.d_weight = torch.empty_like(weight, dtype=_wide(weight)) if into is None else into

    @property
    def is_wanted(self) -> bool:
        return self.d_hidden is not None or self.d_weight is not None

    def add(self, rows: slice, d_logits_TV: Tensor, hidden_TD: Tensor) -> None:
        """Take the gradients of one chunk from those of its logits."""
        if self.d_hidden is not None:
            torch.mm(d_logits_TV, self.weight, out=self.d_hidden[rows])
        if self.d_weight is not None:
            add_product(self.d_weight, d_logits_TV, hidden_TD, is_first=self.is_first)
            self.is_first = False


def _chunks(hidden: Tensor, weight: Tensor, chunk: int | None):
    """Row slices, and one buffer that holds the logits of any of them."""
    tokens = hidden.shape[0]
    chunk = min(chunk or _chunk_tokens(tokens, weight), max(tokens, 1))
    buffer = hidden.new_empty(chunk, weight.shape[0])
    return [slice(a, min(a + chunk, tokens)) for a in range(0, tokens, chunk)], buffer


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        weight_T: Tensor,
        z_loss: float,
        chunk: int | None,
        wants_grad: bool,
        grad_scale: float | None,
    ) -> tuple[Tensor, Tensor]:
        wants = tuple(wants_grad and need for need in ctx.needs_input_grad[:2])
        total = main_grad(weight)
        into = total if grad_scale is not None and wants[1] else None
        gradients = _Gradients(hidden, weight, (wants[0], wants[1]), into)
        ce = hidden.new_empty(hidden.shape[0], dtype=torch.float32)
        z = torch.empty_like(ce) if z_loss else None
        slices, buffer = _chunks(hidden, weight, chunk)
        options = _options("head_cross_entropy", hidden)
        for rows in slices:
            h = hidden[rows]
            logits = torch.mm(h, weight.t(), out=buffer[: h.shape[0]])
            launch(
                kernels.cross_entropy_rows,
                (h.shape[0],),
                logits,
                targets[rows],
                weight_T[rows],
                ce[rows],
                None if z is None else z[rows],
                logits.stride(0),
                weight.shape[0],
                z_loss,
                1.0 if grad_scale is None else grad_scale,
                HAS_Z=z is not None,
                HAS_GRADIENT=gradients.is_wanted,
                **options,
            )
            if gradients.is_wanted:
                gradients.add(rows, logits, h)
        ctx.save_for_backward(gradients.d_hidden, None if into is not None else gradients.d_weight)
        ctx.into, ctx.main_grad, ctx.grad_scale = into, total, grad_scale
        ctx.dtype = weight.dtype
        ce_sum = ce.sum(dtype=torch.float64)
        z_sum = torch.zeros_like(ce_sum) if z is None else z.sum(dtype=torch.float64)
        return (ce_sum + z_sum).float(), z_sum.float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_total: Tensor, d_z: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        d_hidden, d_weight = ctx.saved_tensors
        factor = d_total if ctx.grad_scale is None else d_total / ctx.grad_scale
        if ctx.into is not None:
            # the sum already has the gradient: a wrong promise must not pass unseen
            is_kept = (factor - 1).abs() < 1e-3
            ctx.into.view(-1)[:1].mul_(torch.where(is_kept, 1.0, torch.nan))
        if d_hidden is not None:
            d_hidden = d_hidden * factor.to(d_hidden.dtype) if ctx.into is None else d_hidden
        if d_weight is not None:
            if ctx.main_grad is not None:
                ctx.main_grad.addcmul_(d_weight, factor)
                d_weight = None
            else:
                d_weight = (d_weight * factor).to(ctx.dtype)
        return d_hidden, d_weight, *[None] * 6


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
    """Same contract as `chunked.cross_entropy`."""
    if hidden_TD.dtype == torch.float64:  # the kernels compute in float32
        return chunked.cross_entropy(
            hidden_TD, weight_VD, targets_T, weight_T, z_loss=z_loss, chunk_tokens=chunk_tokens
        )
    total, z = _CrossEntropy.apply(
        hidden_TD,
        weight_VD,
        targets_T,
        weight_T,
        z_loss,
        chunk_tokens,
        torch.is_grad_enabled(),
        grad_scale,
    )
    return HeadLoss(total, z.detach())


class _LogProbs(torch.autograd.Function):
    """The backward makes the logits of each chunk again."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        temperature: float,
        chunk: int | None,
    ) -> tuple[Tensor, Tensor]:
        lp = hidden.new_empty(hidden.shape[0], dtype=torch.float32)
        entropy, lse = torch.empty_like(lp), torch.empty_like(lp)
        slices, buffer = _chunks(hidden, weight, chunk)
        options = _options("head_logprob", hidden)
        for rows in slices:
            h = hidden[rows]
            logits = torch.mm(h, weight.t(), out=buffer[: h.shape[0]])
            launch(
                kernels.logprob_rows,
                (h.shape[0],),
                logits,
                targets[rows],
                lp[rows],
                entropy[rows],
                lse[rows],
                logits.stride(0),
                weight.shape[0],
                1 / temperature,
                **options,
            )
        ctx.save_for_backward(hidden, weight, targets, entropy, lse)
        ctx.temperature, ctx.chunk, ctx.main_grad = temperature, chunk, main_grad(weight)
        return lp, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_lp: Tensor, d_entropy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, targets, entropy, lse = ctx.saved_tensors
        wants = ctx.needs_input_grad[:2]
        gradients = _Gradients(hidden, weight, wants, ctx.main_grad if wants[1] else None)
        slices, buffer = _chunks(hidden, weight, ctx.chunk)
        options = _options("head_logprob_gradient", hidden)
        d_lp, d_entropy = d_lp.contiguous(), d_entropy.contiguous()
        for rows in slices:
            h = hidden[rows]
            logits = torch.mm(h, weight.t(), out=buffer[: h.shape[0]])
            launch(
                kernels.logprob_gradient_rows,
                (h.shape[0],),
                logits,
                targets[rows],
                entropy[rows],
                lse[rows],
                d_lp[rows],
                d_entropy[rows],
                logits.stride(0),
                weight.shape[0],
                1 / ctx.temperature,
                **options,
            )
            gradients.add(rows, logits, h)
        d_weight = gradients.d_weight
        if d_weight is not None:
            d_weight = None if ctx.main_grad is not None else d_weight.to(weight.dtype)
        return gradients.d_hidden, d_weight, None, None, None


def logprobs(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    targets_T: Tensor,
    temperature: float = 1.0,
    *,
    chunk_tokens: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Same contract as `chunked.logprobs`."""
    if hidden_TD.dtype == torch.float64:
        return chunked.logprobs(
            hidden_TD, weight_VD, targets_T, temperature, chunk_tokens=chunk_tokens
        )
    return _LogProbs.apply(hidden_TD, weight_VD, targets_T, temperature, chunk_tokens)


class _KL(torch.autograd.Function):
    """The teacher is hidden states and a head, or ids and log probabilities of its best tokens."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        teacher: tuple[Tensor, Tensor],
        is_top: bool,
        weight_T: Tensor,
        is_forward: bool,
        temperature: float,
        chunk: int | None,
        wants_grad: bool,
    ) -> Tensor:
        wants = tuple(wants_grad and need for need in ctx.needs_input_grad[:2])
        gradients = _Gradients(hidden, weight, (wants[0], wants[1]), None)
        kl_T = hidden.new_empty(hidden.shape[0], dtype=torch.float32)
        if chunk is None and not is_top:  # two chunks of logits live at a time
            chunk = max(TILE_TOKENS, _chunk_tokens(hidden.shape[0], weight) // 2)
        slices, buffer = _chunks(hidden, weight, chunk)
        t_buffer = None if is_top else torch.empty_like(buffer)
        options = {
            **_options("head_kl", hidden),
            "IS_FORWARD": is_forward,
            "HAS_GRADIENT": gradients.is_wanted,
        }
        for rows in slices:
            h, n = hidden[rows], rows.stop - rows.start
            logits = torch.mm(h, weight.t(), out=buffer[:n])
            if t_buffer is None:
                ids, logps = (x[rows] for x in teacher)
                launch(
                    kernels.kl_top_rows,
                    (n,),
                    logits,
                    ids.contiguous(),
                    logps.contiguous(),
                    weight_T[rows],
                    kl_T[rows],
                    logits.stride(0),
                    weight.shape[0],
                    1 / temperature,
                    ids.shape[1],
                    BLOCK_K=power_of_2(ids.shape[1]),
                    **options,
                )
            else:
                t_hidden, t_weight = teacher
                t_logits = torch.mm(t_hidden[rows], t_weight.t(), out=t_buffer[:n])
                launch(
                    kernels.kl_rows,
                    (n,),
                    logits,
                    t_logits,
                    weight_T[rows],
                    kl_T[rows],
                    logits.stride(0),
                    t_logits.stride(0),
                    weight.shape[0],
                    1 / temperature,
                    **options,
                )
            if gradients.is_wanted:
                gradients.add(rows, logits, h)
        ctx.save_for_backward(gradients.d_hidden, gradients.d_weight)
        ctx.dtype, ctx.main_grad = weight.dtype, main_grad(weight)
        return kl_T.sum(dtype=torch.float64).float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_total: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        d_hidden, d_weight = ctx.saved_tensors
        if d_hidden is not None:
            d_hidden = d_hidden * d_total.to(d_hidden.dtype)
        if d_weight is not None:
            if ctx.main_grad is not None:
                ctx.main_grad.addcmul_(d_weight, d_total)
                d_weight = None
            else:
                d_weight = (d_weight * d_total).to(ctx.dtype)
        return d_hidden, d_weight, *[None] * 7


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
    """Same contract as `chunked.kl`."""
    if hidden_TD.dtype == torch.float64:
        return chunked.kl(
            hidden_TD,
            weight_VD,
            teacher_hidden_TC,
            teacher_weight_VC,
            weight_T,
            direction=direction,
            temperature=temperature,
            chunk_tokens=chunk_tokens,
        )
    return _KL.apply(
        hidden_TD,
        weight_VD,
        (teacher_hidden_TC.detach(), teacher_weight_VC.detach()),
        False,
        weight_T,
        direction == "forward",
        temperature,
        chunk_tokens,
        torch.is_grad_enabled(),
    )


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
    """Same contract as `chunked.kl_top`."""
    if hidden_TD.dtype == torch.float64:
        return chunked.kl_top(
            hidden_TD,
            weight_VD,
            teacher_ids_TK,
            teacher_logprobs_TK,
            weight_T,
            direction=direction,
            temperature=temperature,
            chunk_tokens=chunk_tokens,
        )
    return _KL.apply(
        hidden_TD,
        weight_VD,
        (teacher_ids_TK, teacher_logprobs_TK),
        True,
        weight_T,
        direction == "forward",
        temperature,
        chunk_tokens,
        torch.is_grad_enabled(),
    )
