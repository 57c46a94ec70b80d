"""Routing and routed experts: reference, grouped and compiled variants."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from nautiloid.ops import compiled
from nautiloid.ops.config import Backend
from nautiloid.ops.moe import grouped, reference
from nautiloid.ops.moe.reference import (
    Activation,
    Routing,
    Score,
    activate,
    balance_loss,
    choose,
    route,
)
from nautiloid.ops.norm import wide

__all__ = [
    "Activation",
    "Routing",
    "activate",
    "balance_loss",
    "choose",
    "grouped",
    "pick",
    "reference",
    "route",
    "router",
]

# tokens up to which the compiled kernels run
FEW_TOKENS = 64


def router(
    x_TD: Tensor,
    weight_ED: Tensor,
    bias_E: Tensor | None,
    top_k: int,
    *,
    backend: Backend = "auto",
    n_group: int = 1,
    topk_group: int = 1,
    norm_topk_prob: bool = True,
    scaling: float = 1.0,
    score: Score = "sigmoid",
    replay_TK: Tensor | None = None,
) -> Routing:
    """Scores of all experts from the hidden states, in float32 or wider, and `route` over them."""
    is_plain = replay_TK is None and topk_group >= n_group and x_TD.shape[0] <= FEW_TOKENS
    if is_plain and compiled.fits(x_TD, weight_ED, bias_E) and compiled.is_wanted(backend):
        from nautiloid.ops.moe import jit

        return jit.route(
            x_TD, weight_ED, bias_E, top_k,
            norm_topk_prob=norm_topk_prob, scaling=scaling, score=score,
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
    is_few = x_TL.shape[0] <= FEW_TOKENS and experts_TK.is_contiguous()
    if is_few and compiled.fits(x_TL, weights_TK, up, down, gate):
        from nautiloid.ops.moe import jit

        return jit.experts(*args)
    return grouped.experts(*args)


def pick(backend: Backend) -> Callable[..., Tensor]:
    """The routed-experts function of a backend."""
    if backend == "reference":
        return reference.experts
    return _experts if compiled.is_wanted(backend) else grouped.experts
