"""RMSNorm and the gated group norm with written-out backwards: fewer passes over memory.

Suffixes: X any leading dims, D width, G groups.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nautiloid.ops.main_grad import give, main_grad
from nautiloid.ops.norm.reference import wide


def _normalise(v: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """`v * r` and r for v [..., G, width]."""
    norm = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
    r = norm.square_().div_(v.shape[-1]).add_(eps).rsqrt_()
    return v * r, r


def _normalise_backward(dn: Tensor, n: Tensor, r: Tensor) -> Tensor:
    """Gradient of v from the gradient of n = v r; overwrites dn."""
    mean = torch.mul(dn, n).mean(-1, keepdim=True)
    return dn.addcmul_(n, mean, value=-1).mul_(r)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        n, r = _normalise(x.to(wide(x.dtype)), eps)
        ctx.save_for_backward(n, r, weight)
        ctx.main_grad = main_grad(weight)
        ctx.dtype = x.dtype
        return (n * weight.to(n.dtype)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        n, r, weight = ctx.saved_tensors
        dy = dy.to(n.dtype)
        dw = give((dy * n).flatten(0, -2).sum(0), ctx.main_grad, weight)
        dx = _normalise_backward(dy * weight.to(n.dtype), n, r)
        return dx.to(ctx.dtype), dw, None


class _AddRmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, delta: Tensor, weight: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        total = x + delta
        n, r = _normalise(total.to(wide(total.dtype)), eps)
        # the sum lives on as the residual stream: n is made again from it
        ctx.save_for_backward(total, r, weight)
        ctx.main_grad = main_grad(weight)
        ctx.dtypes = (x.dtype, delta.dtype)
        ctx.set_materialize_grads(False)
        return total, n.mul_(weight).to(total.dtype)

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, d_total: Tensor | None, dy: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        total, r, weight = ctx.saved_tensors
        dw = None
        if dy is not None:
            n = total.to(r.dtype) * r
            dy = dy.to(r.dtype)
            dw = give((dy * n).flatten(0, -2).sum(0), ctx.main_grad, weight)
            dx = _normalise_backward(dy * weight.to(r.dtype), n, r)
            d_total = dx if d_total is None else dx.add_(d_total)
        if d_total is None:
            return None, None, dw, None
        return d_total.to(ctx.dtypes[0]), d_total.to(ctx.dtypes[1]), dw, None


class _GatedGroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, z: Tensor, weight: Tensor, groups: int, eps: float) -> Tensor:
        dtype = wide(z.dtype)
        yw, zw = y.to(dtype), z.to(dtype)
        v = F.silu(zw).mul_(yw).unflatten(-1, (groups, -1))
        n, r = _normalise(v, eps)
        ctx.save_for_backward(yw, zw, n, r, weight)
        ctx.main_grad = main_grad(weight)
        ctx.dtypes = (y.dtype, z.dtype)
        return (n.flatten(-2) * weight.to(dtype)).to(z.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        y, z, n, r, weight = ctx.saved_tensors
        dout = dout.to(n.dtype)
        dw = give((dout * n.flatten(-2)).flatten(0, -2).sum(0), ctx.main_grad, weight)
        dn = (dout * weight.to(n.dtype)).view(n.shape)
        dv = _normalise_backward(dn, n, r).flatten(-2)
        dy = dv * F.silu(z)
        dz = torch.ops.aten.silu_backward(dv.mul_(y), z)
        return dy.to(ctx.dtypes[0]), dz.to(ctx.dtypes[1]), dw, None, None


def rms_norm(x_XD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """Same contract as `reference.rms_norm`.

    >>> rms_norm(torch.tensor([[3.0, 4.0]]), torch.ones(2), 0.0).tolist()
    [[0.848..., 1.131...]]
    """
    if not torch.is_grad_enabled():
        n, _ = _normalise(x_XD.to(wide(x_XD.dtype)), eps)
        return n.mul_(weight_D).to(x_XD.dtype)
    return _RmsNorm.apply(x_XD, weight_D, eps)


def add_rms_norm(
    x_XD: Tensor, delta_XD: Tensor, weight_D: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Same contract as `reference.add_rms_norm`.

    >>> add_rms_norm(torch.ones(1, 1), torch.ones(1, 1), torch.ones(1), 0.0)[1].tolist()
    [[1.0]]
    """
    if not torch.is_grad_enabled():
        total = x_XD + delta_XD
        return total, rms_norm(total, weight_D, eps)
    return _AddRmsNorm.apply(x_XD, delta_XD, weight_D, eps)


def gated_group_norm(
    y_XD: Tensor, z_XD: Tensor, weight_D: Tensor, groups: int, eps: float
) -> Tensor:
    """Same contract as `reference.gated_group_norm`.

    >>> gated_group_norm(torch.ones(1, 2), torch.ones(1, 2), torch.ones(2), 1, 0.0).tolist()
    [[1.0, 1.0]]
    """
    if not torch.is_grad_enabled():
        dtype = wide(z_XD.dtype)
        v = F.silu(z_XD.to(dtype)).mul_(y_XD.to(dtype)).unflatten(-1, (groups, -1))
        n, _ = _normalise(v, eps)
        return n.flatten(-2).mul_(weight_D).to(z_XD.dtype)
    return _GatedGroupNorm.apply(y_XD, z_XD, weight_D, groups, eps)
