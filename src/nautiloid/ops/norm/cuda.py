"""The norms by GPU kernels: same contracts as the reference, any row strides.

Suffixes: T rows, D width, I inner width (groups x width of a group), X any leading dims.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nautiloid.ops.launch import blocks, launch, power_of_2
from nautiloid.ops.main_grad import main_grad
from nautiloid.ops.norm import fused, kernels
from nautiloid.ops.tuning import tuned

# programs that the second axis of a grid can count
MOST_BLOCKS = (1 << 16) - 1
# rows of a decoding step: the kernel before and the one after may overlap with the norm
FEW_ROWS = 512


def _rows(x_XD: Tensor) -> Tensor:
    """A view [T, D] with a dense last dim; copied only where no view exists."""
    x = x_XD if x_XD.stride(-1) == 1 else x_XD.contiguous()
    return x.reshape(-1, x.shape[-1])


def _shape(width: int, lane: int, warps: int = 1) -> dict[str, int]:
    """Launch parameters of rows of a width: `lane` numbers a lane, no fewer than `warps`."""
    block = power_of_2(width)
    most = max(1, warps * 32 * lane // block)
    return {
        "BLOCK_W": block,
        "BLOCK_T": most,
        "num_warps": min(8, max(1, block * most // (32 * lane))),
    }


def _add_sums(partial_PD: Tensor, into: Tensor | None) -> Tensor:
    """Column sums, as a new float32 tensor or added to `into`."""
    P, D = partial_PD.shape
    out = partial_PD.new_empty(D) if into is None else into
    options = tuned("column_sums", BLOCK_P=32, BLOCK_D=32, num_warps=4)
    grid = (blocks(D, options["BLOCK_D"]),)
    launch(kernels.column_sums, grid, partial_PD, out, P, D, ADD=into is not None, **options)
    return out


def rms_forward(
    x_TD: Tensor,
    weight_D: Tensor,
    eps: float,
    delta_TD: Tensor | None = None,
    *,
    out_TD: Tensor | None = None,
    total_TD: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The norm of x, or of x + delta and that sum."""
    T, D = x_TD.shape
    out = x_TD.new_empty(T, D) if out_TD is None else out_TD
    total = None
    if delta_TD is not None:
        dtype = torch.promote_types(x_TD.dtype, delta_TD.dtype)
        total = x_TD.new_empty(T, D, dtype=dtype) if total_TD is None else total_TD
        if out_TD is None:
            out = out.to(dtype)
    options = tuned(f"rms_forward_{D}", TOKENS=1, **_shape(D, 32))
    options["TOKENS"] *= options["BLOCK_T"]
    # many programs that wait would only be in the way of those they wait for
    chained = {"is_chained": True} if T <= FEW_ROWS else {"CHAINED": False}
    launch(
        kernels.rms_norm_forward,
        (blocks(T, options["TOKENS"]),),
        x_TD,
        delta_TD,
        weight_D,
        total,
        out,
        T,
        D,
        eps,
        X_ROW=x_TD.stride(0),
        DELTA_ROW=0 if delta_TD is None else delta_TD.stride(0),
        TOTAL_ROW=0 if total is None else total.stride(0),
        Y_ROW=out.stride(0),
        HAS_DELTA=delta_TD is not None,
        **chained,
        **options,
    )
    return out, total


def rms_backward(
    dy_TD: Tensor,
    x_TD: Tensor,
    weight_D: Tensor,
    eps: float,
    d_total_TD: Tensor | None = None,
    *,
    out_TD: Tensor | None = None,
    into_D: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """dx (plus `d_total`) and the float32 gradient of the weight, added to `into_D` when given."""
    T, D = x_TD.shape
    out = x_TD.new_empty(T, D) if out_TD is None else out_TD
    options = tuned(f"rms_backward_{D}", programs=264, **_shape(D, 16))
    tokens = max(4 * options["BLOCK_T"], blocks(T, options.pop("programs")))
    programs = blocks(T, tokens)
    partial = x_TD.new_empty(programs, D, dtype=torch.float32)
    launch(
        kernels.rms_norm_backward,
        (programs,),
        dy_TD,
        d_total_TD,
        x_TD,
        weight_D,
        out,
        partial,
        T,
        D,
        eps,
        tokens,
        DY_ROW=dy_TD.stride(0),
        D_TOTAL_ROW=0 if d_total_TD is None else d_total_TD.stride(0),
        X_ROW=x_TD.stride(0),
        DX_ROW=out.stride(0),
        HAS_D_TOTAL=d_total_TD is not None,
        **options,
    )
    return out, _add_sums(partial, into_D)


def gated_forward(
    y_TI: Tensor,
    z_TI: Tensor,
    weight_I: Tensor,
    groups: int,
    eps: float,
    *,
    out_TI: Tensor | None = None,
) -> Tensor:
    """`w * group_norm(y * SiLU(z))`; every tensor may be a column slice."""
    T, I = z_TI.shape
    W = I // groups
    out = z_TI.new_empty(T, I) if out_TI is None else out_TI
    options = tuned(f"gated_forward_{W}", TOKENS=2, **_shape(W, 16, 4))
    options["TOKENS"] *= options["BLOCK_T"]
    options["TOKENS"] = max(options["TOKENS"], power_of_2(blocks(T, MOST_BLOCKS)))
    launch(
        kernels.gated_norm_forward,
        (groups, blocks(T, options["TOKENS"])),
        y_TI,
        z_TI,
        weight_I,
        out,
        T,
        W,
        eps,
        Y_ROW=y_TI.stride(0),
        Z_ROW=z_TI.stride(0),
        OUT_ROW=out.stride(0),
        FAST=z_TI.is_cuda,
        **options,
    )
    return out


def gated_backward(
    dout_TI: Tensor,
    y_TI: Tensor,
    z_TI: Tensor,
    weight_I: Tensor,
    groups: int,
    eps: float,
    *,
    dy_TI: Tensor | None = None,
    dz_TI: Tensor | None = None,
    into_I: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """dy and dz (written where given, such as a column slice), float32 gradient of the weight."""
    T, I = z_TI.shape
    W = I // groups
    dy = y_TI.new_empty(T, I) if dy_TI is None else dy_TI
    dz = z_TI.new_empty(T, I) if dz_TI is None else dz_TI
    # all programs at once on 132 processors: of 512 columns each holds eight
    share = max(1, (528 << 10) // (groups * power_of_2(W)))
    options = tuned(f"gated_backward_{W}", programs=share, **_shape(W, 8))
    tokens = max(4 * options["BLOCK_T"], blocks(T, options.pop("programs")))
    programs = blocks(T, tokens)
    partial = z_TI.new_empty(programs, I, dtype=torch.float32)
    launch(
        kernels.gated_norm_backward,
        (groups, programs),
        dout_TI,
        y_TI,
        z_TI,
        weight_I,
        dy,
        dz,
        partial,
        T,
        I,
        W,
        eps,
        tokens,
        DOUT_ROW=dout_TI.stride(0),
        Y_ROW=y_TI.stride(0),
        Z_ROW=z_TI.stride(0),
        DY_ROW=dy.stride(0),
        DZ_ROW=dz.stride(0),
        FAST=z_TI.is_cuda,
        **options,
    )
    return dy, dz, _add_sums(partial, into_I)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        rows = _rows(x)
        ctx.save_for_backward(rows, weight)
        ctx.eps, ctx.main_grad = eps, main_grad(weight)
        return rms_forward(rows, weight, eps)[0].view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        dx, dw = rms_backward(_rows(dy), x, weight, ctx.eps, into_D=ctx.main_grad)
        return dx.view(dy.shape), None if ctx.main_grad is not None else dw.to(weight.dtype), None


class _AddRmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, delta: Tensor, weight: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        y, total = rms_forward(_rows(x), weight, eps, _rows(delta))
        assert total is not None
        ctx.save_for_backward(total, weight)
        ctx.eps, ctx.main_grad, ctx.dtypes = eps, main_grad(weight), (x.dtype, delta.dtype)
        ctx.set_materialize_grads(False)
        return total.view(x.shape), y.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, d_total: Tensor | None, dy: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        total, weight = ctx.saved_tensors
        dw = None
        if dy is not None:
            past = None if d_total is None else _rows(d_total)
            dx, dw = rms_backward(_rows(dy), total, weight, ctx.eps, past, into_D=ctx.main_grad)
            dw = None if ctx.main_grad is not None else dw.to(weight.dtype)
            d_total = dx.view(dy.shape)
        if d_total is None:
            return None, None, dw, None
        return d_total.to(ctx.dtypes[0]), d_total.to(ctx.dtypes[1]), dw, None


class _GatedGroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, z: Tensor, weight: Tensor, groups: int, eps: float) -> Tensor:
        rows = _rows(y), _rows(z)
        ctx.save_for_backward(*rows, weight)
        ctx.groups, ctx.eps, ctx.main_grad = groups, eps, main_grad(weight)
        return gated_forward(*rows, weight, groups, eps).view(z.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        y, z, weight = ctx.saved_tensors
        dy, dz, dw = gated_backward(
            _rows(dout), y, z, weight, ctx.groups, ctx.eps, into_I=ctx.main_grad
        )
        dw = None if ctx.main_grad is not None else dw.to(weight.dtype)
        return dy.view(dout.shape), dz.view(dout.shape), dw, None, None


def rms_norm(x_XD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """Same contract as `reference.rms_norm`."""
    if x_XD.dtype == torch.float64:  # the kernels compute in float32
        return fused.rms_norm(x_XD, weight_D, eps)
    if not torch.is_grad_enabled():
        return rms_forward(_rows(x_XD), weight_D, eps)[0].view(x_XD.shape)
    return _RmsNorm.apply(x_XD, weight_D, eps)


def add_rms_norm(
    x_XD: Tensor, delta_XD: Tensor, weight_D: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Same contract as `reference.add_rms_norm`."""
    if x_XD.dtype == torch.float64:
        return fused.add_rms_norm(x_XD, delta_XD, weight_D, eps)
    if not torch.is_grad_enabled():
        y, total = rms_forward(_rows(x_XD), weight_D, eps, _rows(delta_XD))
        assert total is not None
        return total.view(x_XD.shape), y.view(x_XD.shape)
    return _AddRmsNorm.apply(x_XD, delta_XD, weight_D, eps)


def gated_group_norm(
    y_XD: Tensor, z_XD: Tensor, weight_D: Tensor, groups: int, eps: float
) -> Tensor:
    """Same contract as `reference.gated_group_norm`."""
    if z_XD.dtype == torch.float64:
        return fused.gated_group_norm(y_XD, z_XD, weight_D, groups, eps)
    if not torch.is_grad_enabled():
        return gated_forward(_rows(y_XD), _rows(z_XD), weight_D, groups, eps).view(z_XD.shape)
    return _GatedGroupNorm.apply(y_XD, z_XD, weight_D, groups, eps)
