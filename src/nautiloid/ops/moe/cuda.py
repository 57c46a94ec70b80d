"""Routed experts and router on a GPU: no step waits for the device or depends on scheduling.

The routing weight multiplies the activation, so its gradient is `<act, dy W_down>` and no expert
output is kept; the activation is recomputed from its input.

Suffixes: T tokens, D hidden size, K chosen experts, E experts, R padded rows, L expert input width,
M expert width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nautiloid.ops.launch import blocks, launch, power_of_2
from nautiloid.ops.linear.gradient import add_product
from nautiloid.ops.main_grad import main_grad
from nautiloid.ops.moe import grouped, products
from nautiloid.ops.moe import kernels_route as kernels
from nautiloid.ops.moe.layout import Layout, arrange, collect, combine, spread
from nautiloid.ops.moe.reference import Activation, Routing, Score
from nautiloid.ops.tuning import tuned

# rows every expert is padded to: the box height of the Hopper kernels
ALIGN = 64


def _is_fused(
    x: Tensor, up: Tensor, down: Tensor, gate: Tensor | None, activation: Activation
) -> bool:
    """Whether the activation runs inside the Hopper products."""
    is_plain = gate is None and activation == "relu2" and up.dtype == down.dtype == x.dtype
    return is_plain and products.fits_hopper(x, up, down)


def _forward(
    x: Tensor,
    layout: Layout,
    up: Tensor,
    down: Tensor,
    gate: Tensor | None,
    activation: Activation,
    *,
    keep: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Output [T, L] and, with `keep`, what the activation was computed from."""
    is_relu2 = activation == "relu2"
    xs = g = None
    if _is_fused(x, up, down, gate, activation):
        a, h = products.up_relu2(x, up, layout, keep=keep)
    else:
        xs = spread(x, layout)
        h = products.rows_product(xs, up, layout, is_nt=True)
        if gate is not None:
            g = products.rows_product(xs, gate, layout, is_nt=True)
        a = products.activate(h, g, layout, is_relu2=is_relu2)
    # the rows of x are done with, so the output takes their place
    y = products.rows_product(a, down, layout, is_nt=True, out=xs)
    return combine(y, layout), h, g


class _Experts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        experts: Tensor,
        weights: Tensor,
        up: Tensor,
        down: Tensor,
        gate: Tensor | None,
        activation: Activation,
    ) -> Tensor:
        layout = arrange(experts, weights, up.shape[0], ALIGN)
        keep = any(ctx.needs_input_grad)
        out, h, g = _forward(x, layout, up, down, gate, activation, keep=keep)
        if keep:
            ctx.rows, ctx.activation, ctx.dtype = layout.rows, activation, weights.dtype
            ctx.into = main_grad(up), main_grad(down), main_grad(gate)
            ctx.save_for_backward(x, h, g, up, down, gate, *layout[:-1])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, h, g, up, down, gate, *tensors = ctx.saved_tensors
        layout = Layout(*tensors, rows=ctx.rows)
        needs_x, _, needs_weights, needs_up, needs_down, needs_gate, _ = ctx.needs_input_grad
        into_up, into_down, into_gate = ctx.into
        is_relu2 = ctx.activation == "relu2"
        dy = spread(dout, layout)
        dg = None
        if _is_fused(x, up, down, gate, ctx.activation):
            dh, act, dp = products.down_relu2_backward(dy, down, h, layout)
        else:
            da = products.rows_product(dy, down, layout, is_nt=False)
            dh, dg, act, dp = products.activate_backward(da, h, g, layout, is_relu2=is_relu2)
        d_weights = collect(dp, layout, ctx.dtype) if needs_weights else None
        d_down = products.weight_product(dy, act, layout, down, into_down) if needs_down else None
        del act, dy
        d_up = d_gate = None
        if needs_up or needs_gate:
            xs = spread(x, layout)
            d_up = products.weight_product(dh, xs, layout, up, into_up) if needs_up else None
            if gate is not None and dg is not None and needs_gate:
                d_gate = products.weight_product(dg, xs, layout, gate, into_gate)
            del xs
        dx = None
        if needs_x:
            dxs = products.rows_product(dh, up, layout, is_nt=False)
            second = None
            if gate is not None and dg is not None:
                second = products.rows_product(dg, gate, layout, is_nt=False)
            dx = combine(dxs, layout, second)
        return dx, None, d_weights, d_up, d_down, d_gate, None


def experts(
    x_TL: Tensor,
    experts_TK: Tensor,
    weights_TK: Tensor,
    up_EML: Tensor,
    down_ELM: Tensor,
    gate_EML: Tensor | None = None,
    activation: Activation = "relu2",
) -> Tensor:
    """Same contract as `reference.experts`; dropless, and the host never waits.

    A weight with a float32 `main_grad` gets its gradient added there.
    """
    if x_TL.dtype == torch.float64:
        return grouped.experts(x_TL, experts_TK, weights_TK, up_EML, down_ELM, gate_EML, activation)
    if x_TL.shape[0] == 0:
        return torch.zeros_like(x_TL)
    return _Experts.apply(x_TL, experts_TK, weights_TK, up_EML, down_ELM, gate_EML, activation)


def _mm(a: Tensor, b: Tensor) -> Tensor:
    """`a b` summed and returned in float32."""
    if a.is_cuda and a.dtype != torch.float32:
        return torch.mm(a, b, out_dtype=torch.float32)
    return torch.mm(a.float(), b.float())


class _Route(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        replay: Tensor | None,
        top_k: int,
        n_group: int,
        topk_group: int,
        norm_topk_prob: bool,
        scaling: float,
        score: Score,
    ) -> tuple[Tensor, Tensor, Tensor]:
        tokens, experts = x.shape[0], weight.shape[0]
        wide = power_of_2(experts)
        logits = _mm(x, weight.to(x.dtype).t())
        scores = torch.empty_like(logits)
        chosen = torch.empty(tokens, top_k, dtype=torch.int64, device=x.device)
        weights = torch.empty(tokens, top_k, dtype=torch.float32, device=x.device)
        rows = max(1, 512 // wide)
        launch(
            kernels.route_kernel,
            (blocks(tokens, rows),),
            logits,
            logits if bias is None else bias,
            chosen if replay is None else replay.contiguous(),
            scores,
            chosen,
            weights,
            tokens,
            experts,
            scaling,
            K=top_k,
            KP=power_of_2(top_k),
            EP=wide,
            IS_SIGMOID=score == "sigmoid",
            HAS_BIAS=bias is not None,
            HAS_REPLAY=replay is not None,
            IS_NORMED=norm_topk_prob,
            GROUPS=n_group,
            KEPT=topk_group,
            PER=experts // n_group,
            GP=power_of_2(n_group),
            **tuned("moe_route", ROWS=rows, num_warps=1),
        )
        ctx.mark_non_differentiable(chosen)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, scores, chosen)
        ctx.into = main_grad(weight)
        ctx.config = (norm_topk_prob, scaling, score)
        return chosen, weights, scores

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, _: None, dweights: Tensor | None, dscores: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x, weight, scores, chosen = ctx.saved_tensors
        none = (None,) * 8
        if dweights is None and dscores is None:
            return None, None, *none
        normed, scaling, score = ctx.config
        tokens, experts = scores.shape
        if dweights is None:
            dweights = torch.zeros(chosen.shape, dtype=torch.float32, device=x.device)
        wide = power_of_2(experts)
        dlogits = torch.empty(tokens, experts, dtype=x.dtype, device=x.device)
        rows = max(1, 512 // wide)
        launch(
            kernels.route_backward_kernel,
            (blocks(tokens, rows),),
            scores,
            chosen,
            dweights.contiguous(),
            scores if dscores is None else dscores.contiguous(),
            dlogits,
            tokens,
            experts,
            scaling,
            K=chosen.shape[1],
            EP=wide,
            IS_SIGMOID=score == "sigmoid",
            IS_NORMED=normed,
            HAS_DSCORES=dscores is not None,
            **tuned("moe_route_backward", ROWS=rows, num_warps=1),
        )
        dx = torch.mm(dlogits, weight.to(x.dtype)) if ctx.needs_input_grad[0] else None
        dweight = None
        if ctx.needs_input_grad[1]:
            if ctx.into is None:
                dweight = _mm(dlogits.t(), x).to(weight.dtype)
            else:
                add_product(ctx.into, dlogits, x)
        return dx, dweight, *none


def route(
    x_TD: Tensor,
    weight_ED: Tensor,
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
    """`reference.route` of the router's logits; operands as stored, products summed in float32."""
    return Routing(
        *_Route.apply(
            x_TD,
            weight_ED,
            bias_E,
            replay_TK,
            top_k,
            n_group,
            topk_group,
            norm_topk_prob,
            scaling,
            score,
        )
    )
