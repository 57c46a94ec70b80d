"""The shared check of GPU kernels against the references, on a GPU or in Triton's interpreter.

References run in float64 on the values that the kernel sees, so that the error is the kernel's own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import pytest
import torch
from tests.suites.interpreter import allow_loaded_bounds
from tests.suites.ops import poisoned_memory
from torch import Tensor

from nautiloid.ops.backends import has

if not has("triton"):
    pytest.skip("needs triton", allow_module_level=True)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
    allow_loaded_bounds()

# of the norm of the error over the norm of the result
TOLERANCE = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 2e-2}


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    """float64 values that do not depend on the device."""
    generator = torch.Generator().manual_seed(seed + sum(shape) * 1009 + len(shape))
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm; NaN never passes a bound."""
    found, expected = (x.detach().double().cpu() for x in (found, expected))
    return float((found - expected).norm() / expected.norm().clamp(min=1e-30))


def check_kernel(
    reference: Callable[..., Tensor | tuple[Tensor, ...]],
    kernel: Callable[..., Tensor | tuple[Tensor, ...]],
    inputs: Sequence[Tensor | None],
    dtype: torch.dtype,
    tolerance: float | None = None,
) -> None:
    """Compare outputs and the gradients of all inputs; fresh memory is NaN."""
    seen = [None if x is None else x.to(DEVICE, dtype).requires_grad_() for x in inputs]
    exact = [None if x is None else x.detach().double().requires_grad_() for x in seen]

    def run(fn: Callable[..., Tensor | tuple[Tensor, ...]], args: list[Tensor | None]):
        outputs = fn(*args)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        loss = torch.zeros((), dtype=torch.float64, device=DEVICE)
        for i, out in enumerate(outputs):
            weight = normal(*out.shape, seed=i + 1).to(DEVICE, dtype).double()
            loss = loss + (out.double() * weight).sum()
        wanted = [x for x in args if x is not None]
        return [*outputs, *torch.autograd.grad(loss, wanted)]

    expected = run(reference, exact)
    with poisoned_memory():
        found = run(kernel, seen)
    bound = tolerance or TOLERANCE[dtype]
    errors = [relative_error(a, b) for a, b in zip(found, expected, strict=True)]
    assert all(e <= bound for e in errors), errors
