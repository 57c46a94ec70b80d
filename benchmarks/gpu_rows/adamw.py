"""The AdamW update and the gradient norm over flat memory, against their bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from benchmarks.gpu_rows.timing import bytes_limit_ms, limits, peer_ms, timed
from benchmarks.results_file import Row
from tests.suites import adamw as suite

from nautiloid.ops.activation import cuda as activation
from nautiloid.ops.adamw import Scalars, cuda

ELEMENTS = 1 << 28
HOST = Scalars(lr=1e-4, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, key=77)
# bytes an element: weights, moments read and written, gradient read and cleared, copy written
BYTES = {"masters": 34, "masters-bf16-moments": 26, "stochastic": 20}


def rows() -> list[Row]:
    """One row a parameter mode, and the norm."""
    found: list[Row] = []
    for mode, per_element in BYTES.items():
        suite.check_update(cuda.update, mode, "cuda")
        suite.check_skip(cuda.update, mode, "cuda")
        arrays = _arrays(mode)
        time = timed(_update(arrays))
        least = bytes_limit_ms(per_element * ELEMENTS)
        found.append(
            Row(
                work=f"adamw_{mode}",
                value=time.ms / least,
                unit="time over byte limit",
                better="lower",
                goal=1.1,
                ours=time.ms,
                peer=_torch_ms() if mode == "masters" else None,
                limit=limits(ms=time.ms, count_bytes=per_element * ELEMENTS, flops=0)
                + f"; {ELEMENTS:,} elements; peer is torch's fused AdamW in float32 (28 bytes)",
                reps=time.reps,
                spread=(time.spread[0] / least, time.spread[1] / least),
            )
        )
    suite.check_square_sum(cuda.square_sum, "cuda")
    gradient = torch.randn(ELEMENTS, device="cuda")
    time = timed(lambda: cuda.square_sum(gradient))
    least = bytes_limit_ms(4 * ELEMENTS)
    found.append(
        Row(
            work="gradient_norm",
            value=time.ms / least,
            unit="time over byte limit",
            better="lower",
            goal=1.1,
            ours=time.ms,
            peer=peer_ms(lambda: torch.nn.utils.get_total_norm([gradient])),
            limit=limits(ms=time.ms, count_bytes=4 * ELEMENTS, flops=0) + "; peer is torch",
            reps=time.reps,
            spread=(time.spread[0] / least, time.spread[1] / least),
        )
    )
    return found


def _arrays(mode: str) -> tuple[Any, ...]:
    """Those of the suite at full length, random numbers repeated."""
    part = 1 << 20
    small = suite.make(mode, part, "cuda")
    return tuple(t if t is None or t.numel() < part else t.repeat(ELEMENTS // part) for t in small)


def _update(arrays: tuple[Any, ...]) -> Callable[[], None]:
    param, grad, m, v, device_scalars, copy = arrays
    return lambda: cuda.update(param, grad, m, v, device_scalars, HOST, copy)


def _torch_ms() -> float | None:
    parameter = torch.nn.Parameter(torch.randn(ELEMENTS, device="cuda"))
    parameter.grad = torch.randn_like(parameter)
    return peer_ms(torch.optim.AdamW([parameter], lr=1e-4, fused=True).step)


def candidates() -> dict[str, Any]:
    """Launch parameters to try, by kernel (`tune.py`)."""
    arrays = _arrays("masters")
    update = _update(arrays)
    gradient = torch.randn(ELEMENTS, device="cuda")
    exact = float(gradient.double().square().sum())
    x, dy = torch.randn(2, 16384, 12544, device="cuda").bfloat16()
    positive = x.relu()
    squares = positive * positive
    shapes = [
        {"BLOCK": block, "num_warps": warps}
        for block, warps in ((1024, 4), (1024, 8), (2048, 4), (2048, 8), (4096, 8), (8192, 8))
    ]

    def run_update() -> Any:
        update()
        return arrays

    def is_update_right(arrays: Any) -> bool:
        suite.check_update(cuda.update, "masters", "cuda")
        suite.check_update(cuda.update, "stochastic", "cuda")
        return bool(arrays[0].isfinite().all())

    def run_backward() -> Any:
        return activation.relu2_backward(x, dy)

    return {
        "adamw_update": (shapes, run_update, is_update_right),
        "adamw_square_sum": (
            shapes,
            lambda: cuda.square_sum(gradient),
            lambda total: abs(float(total) / exact - 1) < 1e-5,
        ),
        "relu2": (
            shapes,
            lambda: activation.relu2(x),
            lambda y: bool((y - squares).abs().max() <= 0.01 * squares.abs().max()),
        ),
        "relu2_backward": (
            shapes,
            run_backward,
            lambda dx: bool(torch.allclose(dx, 2 * positive * dy, rtol=2e-2, atol=1e-2)),
        ),
    }
