"""The squared ReLU by GPU kernels; it saves its input alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nautiloid.ops.activation.kernels import relu2_backward_kernel, relu2_kernel
from nautiloid.ops.launch import blocks, launch
from nautiloid.ops.tuning import tuned


class _Relu2(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x)
        out = torch.empty_like(x)
        options = tuned("relu2", BLOCK=4096, num_warps=8)
        launch(relu2_kernel, (blocks(x.numel(), options["BLOCK"]),), x, out, x.numel(), **options)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return relu2_backward(x, dy)


def relu2_backward(x: Tensor, dy: Tensor) -> Tensor:
    """`2 relu(x) dy`."""
    dy, dx = dy.contiguous(), torch.empty_like(x)
    options = tuned("relu2_backward", BLOCK=4096, num_warps=8)
    grid = (blocks(x.numel(), options["BLOCK"]),)
    launch(relu2_backward_kernel, grid, x, dy, dx, x.numel(), **options)
    return dx


def relu2(x: Tensor) -> Tensor:
    """Same contract as `ops.moe.reference.relu2`."""
    return _Relu2.apply(x)
