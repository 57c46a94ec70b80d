"""Routed experts over tokens sorted by expert: one matrix product per expert that has tokens.

The backward is written out; the routing weight is applied to the activation before the down
projection, so its gradient needs no expert output. Empty experts cost nothing.

Suffixes: T tokens, K chosen experts, A = T K assignments, E experts, L input width, M expert width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nautiloid.ops.moe.reference import Activation, activate

# below this many assignments the sort costs more than it saves
FEW = 12
# up to this many rows an expert, one batched product over all experts beats one product each
THIN = 12


class _Groups:
    """Assignments sorted by expert: `order` sorts, `inverse` sorts back, `runs` are the groups."""

    def __init__(self, experts_TK: Tensor, num_experts: int):
        flat = experts_TK.reshape(-1)
        self.order = torch.argsort(flat, stable=True)
        self.tokens = self.order // experts_TK.shape[1]
        counts = torch.bincount(flat, minlength=num_experts).tolist()
        self.runs: list[tuple[int, int, int]] = []
        self.empty: list[int] = []
        start = 0
        for e, n in enumerate(counts):
            if n:
                self.runs.append((e, start, start + n))
                start += n
            else:
                self.empty.append(e)

    def inverse(self) -> Tensor:
        inverse = torch.empty_like(self.order)
        inverse[self.order] = torch.arange(self.order.numel(), device=self.order.device)
        return inverse


def _matmul_up(x_AL: Tensor, weight_EML: Tensor, groups: _Groups) -> Tensor:
    out = x_AL.new_empty(x_AL.shape[0], weight_EML.shape[1])
    for e, a, b in groups.runs:
        torch.mm(x_AL[a:b], weight_EML[e].t(), out=out[a:b])
    return out


def _combine(y_AL: Tensor, inverse: Tensor, top_k: int) -> Tensor:
    """Sum each token's rows in a fixed order, in float32 or wider."""
    if y_AL.dtype in (torch.float32, torch.float64):
        # gathers and adds in one pass; its order is that of the rows
        return F.embedding_bag(inverse.view(-1, top_k), y_AL, mode="sum")
    rows = y_AL.index_select(0, inverse).view(-1, top_k, y_AL.shape[1])
    return rows.sum(1, dtype=torch.float32).to(y_AL.dtype)


def _activate_backward(
    da: Tensor, h: Tensor, g: Tensor | None, activation: Activation
) -> tuple[Tensor, Tensor | None]:
    """Gradients of `activate(h, g)` for h and g."""
    if g is None:
        assert activation == "silu"
        return torch.ops.aten.silu_backward(da, h), None
    if activation == "relu2":
        positive = F.relu(g)
        return da * positive.square(), (da * h).mul_(positive).mul_(2)
    return da * F.silu(g), torch.ops.aten.silu_backward(da * h, g)


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
        top_k = experts.shape[1]
        groups = _Groups(experts, up.shape[0])
        inverse = groups.inverse()
        x_A = F.embedding(groups.tokens, x)
        h = _matmul_up(x_A, up, groups)
        g = None if gate is None else _matmul_up(x_A, gate, groups)
        w = weights.reshape(-1)[groups.order].to(x.dtype)[:, None]
        a = activate(h, g, activation).mul_(w)
        y = _matmul_up(a, down, groups)
        ctx.groups, ctx.top_k, ctx.activation = groups, top_k, activation
        ctx.weights_dtype = weights.dtype
        ctx.save_for_backward(x_A, h, g, w, inverse, up, down, gate)
        return _combine(y, inverse, top_k)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x_A, h, g, w, inverse, up, down, gate = ctx.saved_tensors
        groups: _Groups = ctx.groups
        dy = F.embedding(groups.tokens, dout.contiguous())
        is_plain_relu2 = g is None and ctx.activation == "relu2"
        positive = F.relu(h) if is_plain_relu2 else None
        act = activate(h, g, ctx.activation) if positive is None else positive * positive
        weighted = act * w
        da = torch.empty_like(h)
        d_down, d_up = torch.empty_like(down), torch.empty_like(up)
        d_gate = None if gate is None else torch.empty_like(gate)
        for e in groups.empty:
            for grad in (d_down, d_up, d_gate):
                if grad is not None:
                    grad[e].zero_()
        for e, i, j in groups.runs:
            torch.mm(dy[i:j], down[e], out=da[i:j])
            torch.mm(dy[i:j].t(), weighted[i:j], out=d_down[e])
        dw = (da * act).sum(-1)
        if positive is not None:
            dh, dg = da.mul_(positive).mul_(2 * w), None
        else:
            dh, dg = _activate_backward(da.mul_(w), h, g, ctx.activation)
        dx_A = torch.empty_like(x_A)
        for e, i, j in groups.runs:
            torch.mm(dh[i:j], up[e], out=dx_A[i:j])
            torch.mm(dh[i:j].t(), x_A[i:j], out=d_up[e])
            if dg is not None and gate is not None and d_gate is not None:
                dx_A[i:j].addmm_(dg[i:j], gate[e])
                torch.mm(dg[i:j].t(), x_A[i:j], out=d_gate[e])
        dx = _combine(dx_A, inverse, ctx.top_k)
        d_weights = dw[inverse].view(-1, ctx.top_k).to(ctx.weights_dtype)
        return dx, None, d_weights, d_up, d_down, d_gate, None


def _few(
    x_TL: Tensor,
    experts_TK: Tensor,
    weights_TK: Tensor,
    up: Tensor,
    down: Tensor,
    gate: Tensor | None,
    activation: Activation,
) -> Tensor:
    """A handful of assignments, as matrix-vector products without sorting."""
    tokens, top_k = experts_TK.shape
    h = x_TL.new_empty(tokens, top_k, up.shape[1])
    g = None if gate is None else torch.empty_like(h)
    chosen = experts_TK.tolist()
    for t, x in enumerate(x_TL.unbind()):
        for k, row in enumerate(h[t].unbind()):
            torch.mv(up[chosen[t][k]], x, out=row)
        if gate is not None and g is not None:
            for k, row in enumerate(g[t].unbind()):
                torch.mv(gate[chosen[t][k]], x, out=row)
    h = activate(h, g, activation).mul_(weights_TK[..., None].to(h.dtype))
    out = torch.zeros_like(x_TL)
    for t, y in enumerate(out.unbind()):
        for k, row in enumerate(h[t].unbind()):
            y.addmv_(down[chosen[t][k]], row)
    return out


def _thin(
    x_TL: Tensor,
    experts_TK: Tensor,
    weights_TK: Tensor,
    up: Tensor,
    down: Tensor,
    gate: Tensor | None,
    activation: Activation,
) -> Tensor | None:
    """A few rows for most experts, as batched products over all of them.

    Decoding a batch is bound by reading weights; one batched product reads them on all cores.
    None when too few experts are touched or one of them has many rows.
    """
    flat = experts_TK.reshape(-1)
    counts = torch.bincount(flat, minlength=up.shape[0])
    most = int(counts.max())
    if most > THIN or 2 * int((counts > 0).sum()) < up.shape[0]:
        return None
    order = torch.argsort(flat, stable=True)
    chosen = flat[order]
    rank = torch.arange(flat.numel(), device=flat.device) - (counts.cumsum(0) - counts)[chosen]
    slot = torch.empty_like(order)
    slot[order] = chosen * most + rank
    rows = x_TL.new_zeros(up.shape[0] * most, x_TL.shape[1])
    rows[slot] = x_TL.repeat_interleave(experts_TK.shape[1], 0)
    rows = rows.view(up.shape[0], most, -1)
    h = torch.bmm(rows, up.transpose(1, 2))
    g = None if gate is None else torch.bmm(rows, gate.transpose(1, 2))
    y = torch.bmm(activate(h, g, activation), down.transpose(1, 2)).flatten(0, 1)
    taken = y[slot].view(*experts_TK.shape, -1)
    return (taken * weights_TK[..., None]).sum(1).to(x_TL.dtype)


def experts(
    x_TL: Tensor,
    experts_TK: Tensor,
    weights_TK: Tensor,
    up_EML: Tensor,
    down_ELM: Tensor,
    gate_EML: Tensor | None = None,
    activation: Activation = "relu2",
) -> Tensor:
    """Same contract as `reference.experts`.

    >>> x, e = torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.long)
    >>> experts(x, e, torch.ones(1, 1), torch.full((1, 1, 1), 2.0), torch.ones(1, 1, 1)).item()
    4.0
    """
    args = (x_TL, experts_TK, weights_TK, up_EML, down_ELM, gate_EML, activation)
    if not torch.is_grad_enabled():
        if experts_TK.numel() <= FEW:
            return _few(*args)
        if experts_TK.numel() <= THIN * up_EML.shape[0]:
            thin = _thin(*args)
            if thin is not None:
                return thin
    return _Experts.apply(*args)
