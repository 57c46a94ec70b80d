"""Cases of the packed attention on a GPU."""

from __future__ import annotations

from typing import Any

import torch
from tests.suites.kernels import check_kernel, normal

from nautiloid.ops.attention import cuda, reference


def check_attention(
    lengths: list[int], dtype: torch.dtype, *, heads: int = 4, groups: int = 2, **options: Any
) -> None:
    """Outputs and gradients of packed sequences with grouped queries."""
    total, width = sum(lengths), 64
    check_kernel(
        lambda q, k, v: reference.attention(q, k, v, lengths, scale=0.2, **options),
        lambda q, k, v: cuda.attention(q, k, v, lengths, scale=0.2, **options),
        [normal(total, n, width, seed=i) for i, n in enumerate((heads, groups, groups))],
        dtype,
    )


def check_column_slices(dtype: torch.dtype, device: torch.device) -> None:
    """q, k and v may be columns of one projection; unequal lengths and equal ones."""
    width = 64
    for lengths in ([40, 40], [70, 10]):
        qkv = normal(80, 8 * width).to(device, dtype).requires_grad_()
        parts = [x.unflatten(-1, (-1, width)) for x in qkv.split([4 * width] + [2 * width] * 2, -1)]
        out = cuda.attention(*parts, lengths, scale=0.2)
        (found,) = torch.autograd.grad(out.float().square().sum(), qkv)
        dense = [x.contiguous() for x in parts]
        same = cuda.attention(*dense, lengths, scale=0.2)
        (expected,) = torch.autograd.grad(same.float().square().sum(), qkv)
        torch.testing.assert_close(out, same)
        torch.testing.assert_close(found, expected)
