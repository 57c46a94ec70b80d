"""Norms of many rows on a CPU, forward and backward in one pass over memory each.

Weight gradients are summed over fixed blocks of rows, so that they do not depend on the threads.
Import this only where `ops.compiled.is_available`.

Suffixes: T rows, D width, G groups.
"""
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import carray
from torch import Tensor
from torch.autograd.function import once_differentiable

from nautiloid.ops.compiled import FAST, Kernel, bits
from nautiloid.ops.intrinsics import exp32, floats, real, share, team, thread
from nautiloid.ops.jit_target import njit
from nautiloid.ops.main_grad import give, main_grad

ROWS = 64  # of a block


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _normalise(x, weight, out, eps):
    """One row; gives 1 / rms."""
    total = np.float32(0)
    for i in range(len(x)):
        total += x[i] * x[i]
    r = np.float32(1.0 / np.sqrt(total / len(x) + eps))
    for i in range(len(x)):
        out[i] = x[i] * r * weight[i]
    return r


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _gradient(x, r, weight, dy, dx, dw):
    """One row of the backward: dx of the norm is written, dw is added."""
    total = np.float32(0)
    for i in range(len(x)):
        total += dy[i] * weight[i] * x[i]
    mean = total * r * r / np.float32(len(x))
    for i in range(len(x)):
        dw[i] += dy[i] * x[i] * r
        dx[i] = r * (dy[i] * weight[i] - x[i] * mean)


@Kernel
def _add_forward(p):
    a = carray(p, 9)
    rows, width, eps = a[6], a[7], real(a[8])
    weight = carray(floats(a[2]), width)
    first, last = share(rows, thread(), team())
    for t in range(first, last):
        at = 4 * t * width
        x = carray(floats(a[0] + at), width)
        total = carray(floats(a[3] + at), width)
        if a[1] != 0:
            delta = carray(floats(a[1] + at), width)
            for i in range(width):
                total[i] = x[i] + delta[i]
        r = carray(floats(a[5] + 4 * t), 1)
        r[0] = _normalise(total, weight, carray(floats(a[4] + at), width), eps)


@Kernel
def _add_backward(p):
    a = carray(p, 10)
    rows, width = a[7], a[8]
    weight = carray(floats(a[2]), width)
    first, last = share((rows + ROWS - 1) // ROWS, thread(), team())
    for block in range(first, last):
        dw = carray(floats(a[6] + 4 * block * width), width)
        dw[:] = 0
        for t in range(block * ROWS, min(block * ROWS + ROWS, rows)):
            at = 4 * t * width
            x = carray(floats(a[0] + at), width)
            r = carray(floats(a[1] + 4 * t), 1)
            dx = carray(floats(a[5] + at), width)
            _gradient(x, r[0], weight, carray(floats(a[3] + at), width), dx, dw)
            if a[4] != 0:
                further = carray(floats(a[4] + at), width)
                for i in range(width):
                    dx[i] += further[i]


class _AddRmsNorm(torch.autograd.Function):
    """`x + delta` and its norm; without delta the norm of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, delta: Tensor | None, weight: Tensor, eps: float) -> Any:
        width = x.shape[-1]
        total = x if delta is None else torch.empty_like(x)
        out, r = torch.empty_like(x), x.new_empty(x.numel() // width)
        _add_forward(
            x.data_ptr(), 0 if delta is None else delta.data_ptr(), weight.data_ptr(),
            total.data_ptr(), out.data_ptr(), r.data_ptr(), len(r), width, bits(eps),
        )  # fmt: skip
        ctx.save_for_backward(total, r, weight)
        ctx.main_grad, ctx.has_delta = main_grad(weight), delta is not None
        ctx.set_materialize_grads(False)
        return out if delta is None else (total, out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        total, r, weight = ctx.saved_tensors
        d_total, dy = (None, *grads) if len(grads) == 1 else grads
        if dy is None:
            return d_total, d_total if ctx.has_delta else None, None, None
        dy = dy.contiguous()
        d_total = None if d_total is None else d_total.contiguous()
        dx = torch.empty_like(dy)
        width = dy.shape[-1]
        parts = dy.new_empty(-(-len(r) // ROWS), width)
        _add_backward(
            total.data_ptr(), r.data_ptr(), weight.data_ptr(), dy.data_ptr(),
            0 if d_total is None else d_total.data_ptr(), dx.data_ptr(), parts.data_ptr(),
            len(r), width, 0,
        )  # fmt: skip
        dw = give(parts.sum(0), ctx.main_grad, weight)
        return dx, dx if ctx.has_delta else None, dw, None


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _gate(y, z, out):
    """y silu(z)."""
    for i in range(len(y)):
        out[i] = y[i] * z[i] / (np.float32(1) + exp32(-z[i]))


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _gate_gradient(y, z, dv, dy, dz):
    """Gradients of y silu(z)."""
    for i in range(len(y)):
        s = np.float32(1) / (np.float32(1) + exp32(-z[i]))
        dy[i] = dv[i] * z[i] * s
        dz[i] = dv[i] * y[i] * s * (np.float32(1) + z[i] * (np.float32(1) - s))


@Kernel
def _gated_forward(p):
    a = carray(p, 10)
    rows, width, groups, stride, eps = a[5], a[6], a[7], a[8], real(a[9])
    each = width // groups
    scratch = np.empty(each, np.float32)
    first, last = share(rows * groups, thread(), team())
    for unit in range(first, last):
        t, g = unit // groups, unit % groups
        at = 4 * (t * width + g * each)
        y = carray(floats(a[0] + at), each)
        z = carray(floats(a[1] + 4 * (t * stride + g * each)), each)
        _gate(y, z, scratch)
        r = carray(floats(a[4] + 4 * unit), 1)
        weight = carray(floats(a[2] + 4 * g * each), each)
        r[0] = _normalise(scratch, weight, carray(floats(a[3] + at), each), eps)


@Kernel
def _gated_backward(p):
    a = carray(p, 12)
    rows, width, groups, stride = a[8], a[9], a[10], a[11]
    each = width // groups
    v, dv = np.empty(each, np.float32), np.empty(each, np.float32)
    first, last = share((rows + ROWS - 1) // ROWS, thread(), team())
    for block in range(first, last):
        whole = carray(floats(a[7] + 4 * block * width), width)
        whole[:] = 0
        for t in range(block * ROWS, min(block * ROWS + ROWS, rows)):
            for g in range(groups):
                at = 4 * (t * width + g * each)
                y = carray(floats(a[0] + at), each)
                z = carray(floats(a[1] + 4 * (t * stride + g * each)), each)
                r = carray(floats(a[3] + 4 * (t * groups + g)), 1)
                weight = carray(floats(a[2] + 4 * g * each), each)
                dw = carray(floats(a[7] + 4 * (block * width + g * each)), each)
                _gate(y, z, v)
                _gradient(v, r[0], weight, carray(floats(a[4] + at), each), dv, dw)
                dy, dz = carray(floats(a[5] + at), each), carray(floats(a[6] + at), each)
                _gate_gradient(y, z, dv, dy, dz)


class _GatedGroupNorm(torch.autograd.Function):
    """Norm of `y silu(z)` by groups; rows of z may be strided."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, z: Tensor, weight: Tensor, groups: int, eps: float) -> Tensor:
        rows, width = y.shape
        out, r = torch.empty_like(y), y.new_empty(rows, groups)
        _gated_forward(
            y.data_ptr(), z.data_ptr(), weight.data_ptr(), out.data_ptr(), r.data_ptr(),
            rows, width, groups, z.stride(0), bits(eps),
        )  # fmt: skip
        ctx.save_for_backward(y, z, weight, r)
        ctx.main_grad, ctx.groups = main_grad(weight), groups
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        y, z, weight, r = ctx.saved_tensors
        rows, width = y.shape
        dout = dout.contiguous()
        dy, dz = torch.empty_like(y), torch.empty_like(y)
        parts = y.new_empty(-(-rows // ROWS), width)
        _gated_backward(
            y.data_ptr(), z.data_ptr(), weight.data_ptr(), r.data_ptr(), dout.data_ptr(),
            dy.data_ptr(), dz.data_ptr(), parts.data_ptr(), rows, width, ctx.groups, z.stride(0),
        )  # fmt: skip
        return dy, dz, give(parts.sum(0), ctx.main_grad, weight), None, None


def rms_norm(x_XD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """Same contract as `reference.rms_norm` for contiguous float32 rows.

    >>> rms_norm(torch.tensor([[3.0, 4.0]]), torch.ones(2), 0.0).square().mean().item()
    1.0
    """
    return _AddRmsNorm.apply(x_XD, None, weight_D, eps)


def add_rms_norm(
    x_XD: Tensor, delta_XD: Tensor, weight_D: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Same contract as `reference.add_rms_norm` for contiguous float32 rows.

    >>> one = torch.ones(1, 1)
    >>> [t.item() for t in add_rms_norm(one, one, torch.ones(1), 0.0)]
    [2.0, 1.0]
    """
    return _AddRmsNorm.apply(x_XD, delta_XD, weight_D, eps)


def gated_group_norm(
    y_TD: Tensor, z_TD: Tensor, weight_D: Tensor, groups: int, eps: float
) -> Tensor:
    """Same contract as `reference.gated_group_norm` for float32 rows; those of z may be strided.

    >>> gated_group_norm(torch.ones(1, 2), torch.ones(1, 2), torch.ones(2), 1, 0.0).tolist()
    [[1.0, 1.0]]
    """
    return _GatedGroupNorm.apply(y_TD, z_TD, weight_D, groups, eps)
