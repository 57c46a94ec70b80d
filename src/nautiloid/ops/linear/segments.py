"""Several linear maps of one input, run as one matrix product.

When the segment weights lie one after another in one storage, that storage is used as the fused
weight without a copy; otherwise (sharded or moved parameters) each segment runs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nautiloid.ops import compiled
from nautiloid.ops.backends import has
from nautiloid.ops.launch import can_chain
from nautiloid.ops.linear.summed import summed_linear, summed_segments
from nautiloid.ops.main_grad import main_grad

# where the transposed product was measured to be faster (float32, two cores)
FEWEST_ROWS, MOST_ROWS = 3, 64
COMPILED_ROWS = 16
# where the kernels for few rows run on a Hopper GPU: any output of up to so many rows while registers hold
# so many inputs, and pairs of most rows and fewest outputs, measured to beat cuBLAS
VECTOR_ROWS, MOST_INPUTS = 4, 8192
FEW_ROWS = (16, 8192), (32, 65536)


def fused_view(weights: Sequence[Tensor]) -> Tensor | None:
    """The one [sum of rows, columns] tensor that adjacent weights are views of, else None.

    >>> w = torch.arange(6.0).view(3, 2)
    >>> fused_view([w[:1], w[1:]]).shape
    torch.Size([3, 2])
    >>> fused_view([w[:1].clone(), w[1:]]) is None
    True
    """
    first = weights[0]
    address, rows = first.data_ptr(), 0
    for w in weights:
        if w.data_ptr() != address:
            return None
        address += w.nbytes
        rows += w.shape[0]
    if not all(w.is_contiguous() for w in weights):
        return None
    storage = first.untyped_storage()
    if address > storage.data_ptr() + storage.nbytes():
        return None
    return first.detach().as_strided((rows, *first.shape[1:]), first.stride())


def _is_few(x_TD: Tensor, weight_ND: Tensor) -> bool:
    """Whether the kernels for few rows run instead of cuBLAS."""
    if torch.is_grad_enabled() or not has("triton") or not can_chain(x_TD.device):
        return False
    is_plain = x_TD.dtype == weight_ND.dtype and weight_ND.is_contiguous()
    if not is_plain or x_TD.dtype not in (torch.bfloat16, torch.float16):
        return False
    rows, (outputs, inputs) = x_TD.shape[0], weight_ND.shape
    if rows <= VECTOR_ROWS:
        return inputs <= MOST_INPUTS
    return any(rows <= most and outputs >= least for most, least in FEW_ROWS)


def linear(x_XD: Tensor, weight_ND: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """`x W^T + b`; a few rows run by kernels of their own, or on a CPU as `(W x^T)^T`.

    These read the weights up to twice as fast as the plain product.

    >>> linear(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])).item()
    11.0
    """
    if torch.is_grad_enabled() and main_grad(weight_ND) is not None:
        return summed_linear(x_XD, weight_ND, bias_N)
    rows = x_XD.shape[0] if x_XD.dim() == 2 else 0
    if 0 < rows <= COMPILED_ROWS and compiled.fits(x_XD, weight_ND):
        from nautiloid.ops.linear.jit import linear as thin_linear

        return thin_linear(x_XD, weight_ND, bias_N)
    if rows > 0 and x_XD.is_cuda and _is_few(x_XD, weight_ND):
        from nautiloid.ops.linear.cuda import linear as few_linear

        return few_linear(x_XD, weight_ND, bias_N)
    is_thin = FEWEST_ROWS <= rows <= MOST_ROWS
    if not is_thin or torch.is_grad_enabled() or x_XD.device.type != "cpu":
        return F.linear(x_XD, weight_ND, bias_N)
    y = torch.mm(weight_ND, x_XD.t()).t().contiguous()
    return y if bias_N is None else y.add_(bias_N)


def wide_linear(x_TD: Tensor, weight_ND: Tensor, out_TN: Tensor | None = None) -> Tensor:
    """`x W^T` of 16-bit operands on a GPU in float32, into `out` when given; no gradients."""
    if x_TD.shape[0] == 0 or not _is_few(x_TD, weight_ND):
        return torch.mm(x_TD, weight_ND.t(), out_dtype=torch.float32, out=out_TN)
    from nautiloid.ops.linear.cuda import linear as few_linear

    if out_TN is None:
        shape = x_TD.shape[0], weight_ND.shape[0]
        out_TN = torch.empty(shape, dtype=torch.float32, device=x_TD.device)
    return few_linear(x_TD, weight_ND, out_TN=out_TN)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, fused: Tensor, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(x, fused)
        ctx.rows = [w.shape[0] for w in weights]
        return F.linear(x, fused)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, fused = ctx.saved_tensors
        dx = dy @ fused if ctx.needs_input_grad[0] else None
        dw = dy.flatten(0, -2).t() @ x.flatten(0, -2)
        return dx, None, *dw.split(ctx.rows)


def segmented_linear(
    x_XD: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None] | None = None
) -> Tensor:
    """`[x W_1^T + b_1, x W_2^T + b_2, ..]` concatenated on the last dim.

    >>> w = torch.eye(2)
    >>> segmented_linear(torch.tensor([[1.0, 2.0]]), [w[:1], w[1:]]).tolist()
    [[1.0, 2.0]]
    """
    fused = fused_view(weights) if biases is None else None
    if fused is None:
        parts = [
            linear(x_XD, w, None if biases is None else biases[i]) for i, w in enumerate(weights)
        ]
        return torch.cat(parts, -1)
    if not torch.is_grad_enabled():
        return linear(x_XD, fused)
    sums = [total for w in weights if (total := main_grad(w)) is not None]
    if len(sums) == len(weights):
        return summed_segments(x_XD, fused, weights, fused_view(sums))
    return _Fused.apply(x_XD, fused, *weights)
