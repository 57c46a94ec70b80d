"""The shared check of an operator variant against its plain reference: values and gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor


@contextlib.contextmanager
def poisoned_memory() -> Iterator[None]:
    """Fresh memory is NaN, so that a row nobody wrote shows."""
    before = torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled


def check_same(
    reference: Callable[..., Tensor | tuple[Tensor, ...]],
    variant: Callable[..., Tensor | tuple[Tensor, ...]],
    inputs: Sequence[Tensor],
    tolerance: float = 1e-12,
) -> None:
    """Compare outputs and gradients of a random weighting, relative to the largest entry."""

    def run(fn: Callable[..., Tensor | tuple[Tensor, ...]]) -> list[Tensor]:
        outputs = fn(*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        generator = torch.Generator().manual_seed(0)
        loss = torch.zeros((), dtype=torch.float64)
        for out in outputs:
            weight = torch.randn(out.shape, generator=generator, dtype=torch.float64)
            loss = loss + (out.double() * weight).sum() + out.double().square().sum()
        wanted = [x for x in inputs if x.requires_grad]
        return [*outputs, *torch.autograd.grad(loss, wanted)]

    with poisoned_memory():
        for expected, found in zip(run(reference), run(variant), strict=True):
            scale = expected.abs().max().clamp(min=1e-6)
            error = (expected - found).abs().max() / scale
            assert error <= tolerance, (float(error), tuple(expected.shape))


def leaf(*shape: int, low: float | None = None, high: float = 1.0, seed: int = 0) -> Tensor:
    """A float64 input that wants a gradient; uniform when `low` is given, else normal."""
    generator = torch.Generator().manual_seed(seed + sum(shape) * 1009 + len(shape))
    if low is None:
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
    else:
        x = torch.rand(shape, generator=generator, dtype=torch.float64) * (high - low) + low
    return x.requires_grad_()
