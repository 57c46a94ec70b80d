"""Cases of the norm kernels."""

from __future__ import annotations

import torch
from tests.suites.kernels import DEVICE, check_kernel, normal

from nautiloid.ops.norm import cuda, reference

EPS = 1e-5


def check_rms_norm(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """RMSNorm of any leading dims."""
    check_kernel(
        lambda x, w: reference.rms_norm(x, w, EPS),
        lambda x, w: cuda.rms_norm(x, w, EPS),
        [normal(*shape), normal(shape[-1])],
        dtype,
    )


def check_add_rms_norm(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """The residual sum and its norm, with gradients into both outputs."""
    check_kernel(
        lambda *a: reference.add_rms_norm(*a, EPS),
        lambda *a: cuda.add_rms_norm(*a, EPS),
        [normal(*shape), normal(*shape, seed=1), normal(shape[-1])],
        dtype,
    )


def check_gated_group_norm(tokens: int, width: int, groups: int, dtype: torch.dtype) -> None:
    """Gate, norm of each group, and all three gradients."""
    check_kernel(
        lambda *a: reference.gated_group_norm(*a, groups, EPS),
        lambda *a: cuda.gated_group_norm(*a, groups, EPS),
        [normal(tokens, width), normal(tokens, width, seed=1), normal(width)],
        dtype,
    )


def check_gated_slices(dtype: torch.dtype) -> None:
    """z is read from, and dz written to, columns of wider tensors."""
    wide, y = normal(13, 40).to(DEVICE, dtype), normal(13, 24).to(DEVICE, dtype)
    w, dout = normal(24).to(DEVICE, dtype), normal(13, 24, seed=2).to(DEVICE, dtype)
    z, d_wide = wide[:, 8:32], torch.full_like(wide, 7.0)
    assert torch.equal(
        cuda.gated_forward(y, z, w, 3, EPS), cuda.gated_forward(y, z.contiguous(), w, 3, EPS)
    )
    found = cuda.gated_backward(dout, y, z, w, 3, EPS, dz_TI=d_wide[:, 8:32])
    expected = cuda.gated_backward(dout, y, z.contiguous(), w, 3, EPS)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert bool((d_wide[:, :8] == 7).all())
    assert bool((d_wide[:, 32:] == 7).all())


def check_main_grad(dtype: torch.dtype) -> None:
    """The gradient of each weight is added to its float32 sum."""
    x, z = normal(9, 24).to(DEVICE, dtype), normal(9, 24, seed=1).to(DEVICE, dtype)
    weight = normal(24).to(DEVICE, dtype).requires_grad_()
    calls = (
        lambda: cuda.rms_norm(x, weight, EPS),
        lambda: cuda.add_rms_norm(x, z, weight, EPS)[1],
        lambda: cuda.gated_group_norm(x, z, weight, 2, EPS),
    )
    for call in calls:
        (plain,) = torch.autograd.grad(call().float().square().sum(), [weight])
        weight.main_grad = torch.ones(24, device=DEVICE)
        call().float().square().sum().backward()
        assert weight.grad is None
        torch.testing.assert_close((weight.main_grad - 1).to(dtype), plain, rtol=2e-2, atol=1e-3)
        del weight.main_grad
