"""Routing and routed experts: reference, grouped, compiled and GPU variants."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nautiloid.ops import compiled
from nautiloid.ops.backends import by_device, has, require
from nautiloid.ops.config import Backend
from nautiloid.ops.moe import fixed, grouped, packed, reference
from nautiloid.ops.moe.reference import (
    Activation,
    Routing,
    Score,
    Weights,
    activate,
    choose,
    route,
)
from nautiloid.ops.norm import wide

__all__ = [
    "Activation",
    "Routing",
    "Weights",
    "activate",
    "balance_loss",
    "choose",
    "count_choices",
    "few_experts",
    "fixed",
    "grouped",
    "is_few",
    "packed",
    "pick",
    "reference",
    "route",
    "router",
]

# tokens up to which a GPU is bound by reading the weights
FEW_TOKENS = 64
# tokens up to which the compiled router runs
ROUTED_TOKENS = 512
# mean rows an expert up to which the compiled experts beat one product each
SOME_ROWS = 64
# mean rows an expert up to which a GPU is bound by reading the weights
FEW_ROWS = 32
# tokens up to which the shared expert runs along with the routed ones: it is read once for each few
ALONG_TOKENS = 32


def _is_for_kernels(x: Tensor) -> bool:
    return x.is_cuda and x.dtype != torch.float64 and has("triton")


def is_few(x_TD: Tensor, experts: int, top_k: int, backend: Backend) -> bool:
    """Whether the kernels for few tokens serve: a GPU, no gradients, weights rather than products bound.

    >>> is_few(torch.zeros(1, 8), 4, 2, "auto")
    False
    """
    if not x_TD.is_cuda or torch.is_grad_enabled() or backend not in ("auto", "triton"):
        return False
    tokens = x_TD.shape[0]
    is_thin = tokens <= FEW_TOKENS or tokens * top_k <= FEW_ROWS * experts
    return is_thin and tokens > 0 and _is_for_kernels(x_TD)


def balance_loss(
    scores_TE: Tensor, top_k: int, row_lengths: Sequence[int], valid_T: Tensor | None = None
) -> Tensor:
    """`reference.balance_loss`, by kernels on a GPU.

    >>> round(balance_loss(torch.full((4, 4), 0.5), 2, (4,)).item(), 6)
    1.0
    """
    if _is_for_kernels(scores_TE):
        from nautiloid.ops.moe.balance import balance_loss as on_gpu

        return on_gpu(scores_TE, top_k, row_lengths, valid_T)
    return reference.balance_loss(scores_TE, top_k, row_lengths, valid_T)


def count_choices(experts_TK: Tensor, experts: int, valid_T: Tensor | None = None) -> Tensor:
    """int64 [E]: how many valid tokens chose each expert; the host does not wait for a GPU.

    >>> count_choices(torch.tensor([[0, 2], [2, 1]]), 4).tolist()
    [1, 1, 2, 0]
    """
    if experts_TK.is_cuda and has("triton"):
        from nautiloid.ops.moe.layout import expert_counts

        return expert_counts(experts_TK, experts, valid_T)
    chosen = experts_TK if valid_T is None else experts_TK[valid_T]
    return torch.bincount(chosen.flatten(), minlength=experts)


def router(
    x_TD: Tensor,
    weight_ED: Tensor,
    bias_E: Tensor | None,
    top_k: int,
    *,
    backend: Backend = "auto",
    is_few: bool = False,
    n_group: int = 1,
    topk_group: int = 1,
    norm_topk_prob: bool = True,
    scaling: float = 1.0,
    score: Score = "sigmoid",
    replay_TK: Tensor | None = None,
) -> Routing:
    """Scores of all experts from the hidden states, in float32 or wider, and `route` over them.

    `is_few` takes the kernels for few tokens, whose sums run in another order.
    """
    is_plain = replay_TK is None and topk_group >= n_group and x_TD.shape[0] <= ROUTED_TOKENS
    if is_plain and compiled.fits(x_TD, weight_ED, bias_E) and compiled.is_wanted(backend):
        from nautiloid.ops.moe import jit

        return jit.route(
            x_TD, weight_ED, bias_E, top_k,
            norm_topk_prob=norm_topk_prob, scaling=scaling, score=score,
        )  # fmt: skip
    if backend == "triton" or (backend == "auto" and _is_for_kernels(x_TD)):
        from nautiloid.ops.moe import cuda, decode

        return (decode if is_few else cuda).route(
            x_TD, weight_ED, bias_E, top_k,
            n_group=n_group, topk_group=topk_group, norm_topk_prob=norm_topk_prob,
            scaling=scaling, score=score, replay_TK=replay_TK,
        )  # fmt: skip
    dtype = wide(x_TD.dtype)
    return route(
        F.linear(x_TD.to(dtype), weight_ED.to(dtype)), bias_E, top_k,
        n_group=n_group, topk_group=topk_group, norm_topk_prob=norm_topk_prob,
        scaling=scaling, score=score, replay_TK=replay_TK,
    )  # fmt: skip


def _experts(
    x_TL: Tensor,
    experts_TK: Tensor,
    weights_TK: Tensor,
    up: Tensor,
    down: Tensor,
    gate: Tensor | None = None,
    activation: Activation = "relu2",
) -> Tensor:
    args = (x_TL, experts_TK, weights_TK, up, down, gate, activation)
    is_few = experts_TK.numel() <= SOME_ROWS * up.shape[0] and experts_TK.is_contiguous()
    if is_few and compiled.fits(x_TL, weights_TK, up, down, gate):
        from nautiloid.ops.moe import jit

        return jit.experts(*args)
    return grouped.experts(*args)


def few_experts(
    x_TL: Tensor,
    experts_TK: Tensor,
    weights_TK: Tensor,
    routed: Weights,
    shared: Weights | None,
    activation: Activation,
) -> Tensor:
    """Routed experts and the shared one, where `is_few` holds."""
    from nautiloid.ops.moe import decode

    return decode.experts(x_TL, experts_TK, weights_TK, *routed, activation, shared)


def _kernels() -> Callable[..., Tensor]:
    from nautiloid.ops.moe.cuda import experts

    return experts


def pick(backend: Backend) -> Callable[..., Tensor]:
    """The routed-experts function of a backend."""
    if backend == "reference":
        return reference.experts
    if backend == "triton":
        require("triton", "triton", "gpu")
        return _kernels()
    cpu = _experts if compiled.is_wanted(backend) else grouped.experts
    return by_device(cpu, _kernels) if backend == "auto" else cpu
