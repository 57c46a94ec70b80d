"""Cases of the convolution kernels."""

from __future__ import annotations

import torch
from tests.suites.kernels import DEVICE, check_kernel, normal, relative_error

from nautiloid.ops.conv import cuda, reference


def check_conv(
    lengths: list[int], channels: int, taps: int, dtype: torch.dtype, *, bias=True, initial=True
) -> None:
    """Outputs, last inputs and all gradients of packed sequences."""
    total, count = sum(lengths), len(lengths)
    check_kernel(
        lambda x, w, b, i: reference.conv_silu(x, w, b, lengths, i),
        lambda x, w, b, i: cuda.conv_silu(x, w, b, lengths, i),
        [
            normal(total, channels),
            normal(channels, taps),
            normal(channels) if bias else None,
            normal(count, taps - 1, channels) if initial else None,
        ],
        dtype,
    )


def check_slices(dtype: torch.dtype, channels: int = 24) -> None:
    """Column slices in and out are the same as dense tensors, and nothing beside them changes."""
    lengths = [9, 5]
    wide = normal(14, channels + 16).to(DEVICE, dtype)
    x = wide[:, 8 : 8 + channels]
    w, b = (normal(channels, 4).to(DEVICE, dtype), normal(channels).to(DEVICE, dtype))
    dy = normal(14, channels, seed=3).to(DEVICE, dtype)
    out, d_wide = torch.full_like(wide, 7.0), torch.full_like(wide, 7.0)
    y, last = cuda.conv_forward(x, w, b, lengths, out_TC=out[:, 8 : 8 + channels])
    dense, dense_last = cuda.conv_forward(x.contiguous(), w, b, lengths)
    assert torch.equal(y, dense)
    assert torch.equal(last, dense_last)
    found = cuda.conv_backward(dy, x, w, b, lengths, out_TC=d_wide[:, 8 : 8 + channels])
    expected = cuda.conv_backward(dy, x.contiguous(), w, b, lengths)
    assert all(torch.equal(p, q) for p, q in zip(found[:3], expected[:3], strict=True))
    for tensor in (out, d_wide):
        assert bool((tensor[:, :8] == 7).all())
        assert bool((tensor[:, 8 + channels :] == 7).all())


def check_empty_sequence(dtype: torch.dtype) -> None:
    """A sequence of no tokens hands its context on, and its gradient back."""
    x, w = normal(3, 8).to(DEVICE, dtype), normal(8, 4).to(DEVICE, dtype)
    initial = normal(2, 3, 8).to(DEVICE, dtype).requires_grad_()
    y, last = cuda.conv_silu(x, w, None, [0, 3], initial)
    alone, _ = cuda.conv_silu(x, w, None, [3], initial[1:])
    assert relative_error(y, alone) == 0
    assert torch.equal(last[0], initial[0])
    (gradient,) = torch.autograd.grad(last[0].sum(), initial)
    assert bool((gradient[0] == 1).all())
    assert bool((gradient[1] == 0).all())
