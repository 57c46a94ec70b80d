"""Causal convolution with SiLU by GPU kernels: same contract as the reference, any row strides.

Suffixes: T tokens, C channels, K taps, S sequences, L the K - 1 context rows, Z chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nautiloid.ops.conv import kernels, shifted
from nautiloid.ops.launch import blocks, launch, power_of_2
from nautiloid.ops.packing import chunk_table, cu_seqlens
from nautiloid.ops.tuning import tuned

MOST_CHUNKS = 1024


def _rows(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def conv_forward(
    x_TC: Tensor,
    weight_CK: Tensor,
    bias_C: Tensor | None,
    lengths: Sequence[int],
    initial_SLC: Tensor | None = None,
    *,
    out_TC: Tensor | None = None,
    wants_last: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """The outputs, written to `out_TC` when given, and the last inputs [S, K-1, C].

    `x_TC` and `out_TC` may be column slices: only the last dim has to be dense.
    """
    x_TC, K = _rows(x_TC), weight_CK.shape[1]
    T, C = x_TC.shape
    if out_TC is None:
        out_TC = x_TC.new_empty(T, C)
    last = x_TC.new_empty(len(lengths), K - 1, C) if wants_last else None
    if last is not None and 0 in lengths:  # no program visits an empty sequence
        last.copy_(initial_SLC) if initial_SLC is not None else last.zero_()
    options = tuned("conv_forward", CHUNK=32, BLOCK_C=128, ROWS=8, num_warps=1)
    table = chunk_table(lengths, options["CHUNK"], x_TC.device)
    launch(
        kernels.conv_silu_forward,
        (blocks(C, options["BLOCK_C"]), table.shape[0]),
        x_TC,
        weight_CK.contiguous(),
        bias_C,
        None if initial_SLC is None else initial_SLC.contiguous(),
        out_TC,
        last,
        cu_seqlens(lengths, x_TC.device),
        table,
        C,
        X_ROW=x_TC.stride(0),
        Y_ROW=out_TC.stride(0),
        K=K,
        HAS_BIAS=bias_C is not None,
        HAS_INITIAL=initial_SLC is not None,
        HAS_LAST=wants_last,
        FAST=x_TC.is_cuda,
        **options,
    )
    return out_TC, last


def conv_backward(
    dy_TC: Tensor,
    x_TC: Tensor,
    weight_CK: Tensor,
    bias_C: Tensor | None,
    lengths: Sequence[int],
    initial_SLC: Tensor | None = None,
    d_last_SLC: Tensor | None = None,
    *,
    out_TC: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients of x (written to `out_TC` when given), weight and bias (float32), initial context.

    The gradient of the bias is returned also without a bias. Sums run in a fixed order.
    """
    x_TC, dy_TC, K = _rows(x_TC), _rows(dy_TC), weight_CK.shape[1]
    T, C = x_TC.shape
    if out_TC is None:
        out_TC = x_TC.new_empty(T, C)
    d_initial = None if initial_SLC is None else torch.empty_like(initial_SLC).contiguous()
    if d_initial is not None and 0 in lengths:
        d_initial.copy_(d_last_SLC) if d_last_SLC is not None else d_initial.zero_()
    options = tuned("conv_backward", CHUNK=256, BLOCK_C=128, ROWS=8, num_warps=2)
    # a long sequence in longer chunks: their partial sums stay few
    options["CHUNK"] = max(options["CHUNK"], power_of_2(blocks(T, MOST_CHUNKS)))
    table = chunk_table(lengths, options["CHUNK"], x_TC.device)
    Z = table.shape[0]
    partial = x_TC.new_empty(Z, K + 1, C, dtype=torch.float32)
    launch(
        kernels.conv_silu_backward,
        (blocks(C, options["BLOCK_C"]), Z),
        dy_TC,
        x_TC,
        weight_CK.contiguous(),
        bias_C,
        None if initial_SLC is None else initial_SLC.contiguous(),
        None if d_last_SLC is None else d_last_SLC.contiguous(),
        out_TC,
        d_initial,
        partial,
        cu_seqlens(lengths, x_TC.device),
        table,
        C,
        DY_ROW=dy_TC.stride(0),
        X_ROW=x_TC.stride(0),
        DX_ROW=out_TC.stride(0),
        K=K,
        HAS_BIAS=bias_C is not None,
        HAS_INITIAL=initial_SLC is not None,
        HAS_D_LAST=d_last_SLC is not None,
        HAS_D_INITIAL=d_initial is not None,
        FAST=x_TC.is_cuda,
        **options,
    )
    dw = x_TC.new_empty(C, K, dtype=torch.float32)
    d_bias = x_TC.new_empty(C, dtype=torch.float32)
    options = tuned("conv_sums", BLOCK_Z=16, BLOCK_C=64, num_warps=4)
    grid = (blocks(C, options["BLOCK_C"]), K + 1)
    launch(kernels.conv_silu_sums, grid, partial, dw, d_bias, Z, C, K=K, **options)
    return out_TC, dw, d_bias, d_initial


class _ConvSilu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        initial: Tensor | None,
        lengths: tuple[int, ...],
    ) -> tuple[Tensor, Tensor]:
        y, last = conv_forward(x, weight, bias, lengths, initial)
        assert last is not None
        ctx.save_for_backward(x, weight, bias, initial)
        ctx.lengths = lengths
        ctx.set_materialize_grads(False)
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, d_last: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, bias, initial = ctx.saved_tensors
        if dy is None:
            dy = torch.zeros_like(x)
        dx, dw, d_bias, d_initial = conv_backward(dy, x, weight, bias, ctx.lengths, initial, d_last)
        d_bias = None if bias is None else d_bias.to(bias.dtype)
        return dx, dw.to(weight.dtype), d_bias, d_initial, None


def conv_silu(
    x_TC: Tensor,
    weight_CK: Tensor,
    bias_C: Tensor | None,
    lengths: Sequence[int],
    initial_SLC: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Same contract as `reference.conv_silu`."""
    if x_TC.dtype == torch.float64:  # the kernels compute in float32
        return shifted.conv_silu(x_TC, weight_CK, bias_C, lengths, initial_SLC)
    if not torch.is_grad_enabled():
        y, last = conv_forward(x_TC, weight_CK, bias_C, lengths, initial_SLC)
        assert last is not None
        return y, last
    return _ConvSilu.apply(x_TC, weight_CK, bias_C, initial_SLC, tuple(lengths))
