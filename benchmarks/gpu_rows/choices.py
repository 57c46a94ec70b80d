"""Launch parameters to try for norms, convolution and scan (`tune.py`).

Whether the defaults are right is checked against float64 by the rows; a candidate must agree with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from benchmarks.gpu_rows.timing import relative_error
from torch import Tensor

from nautiloid.ops.conv import cuda as conv
from nautiloid.ops.norm import cuda as norm

TOKENS, LENGTHS, EPS = 16384, [8192, 8192], 1e-5
# widths of Nemotron 3 Nano and Nano 4B: residual stream, and one group of the gated norm
WIDTHS, GROUP_WIDTHS, GROUPS = (2688, 3136), (512, 960), 8
# bfloat16 results of another order of summation
BOUND = 5e-3

Run = Callable[[], Any]


def candidates() -> dict[str, Any]:
    """Parameters, a run and its check, by kernel."""
    found: dict[str, Any] = {}
    for width in WIDTHS:
        x, delta, dy = (_normal(TOKENS, width) for _ in range(3))
        weight = _normal(width)
        forward = _bind(norm.rms_forward, x, weight, EPS, delta)
        found[f"rms_forward_{width}"] = _entry(
            forward, [{"TOKENS": t, "num_warps": w} for t in (1, 2, 4) for w in (4, 8)]
        )
        found[f"rms_backward_{width}"] = _entry(
            _bind(norm.rms_backward, dy, x, weight, EPS, delta),
            [{"programs": p, "num_warps": w} for p in (132, 264, 528) for w in (4, 8)],
        )
    for width in GROUP_WIDTHS:
        inner = width * GROUPS
        y, z, dout = (_normal(TOKENS, inner) for _ in range(3))
        weight = _normal(inner)
        found[f"gated_forward_{width}"] = _entry(
            _bind(norm.gated_forward, y, z, weight, GROUPS, EPS),
            [{"BLOCK_T": b, "num_warps": w} for b in (1, 2, 4) for w in (1, 2, 4)],
        )
        found[f"gated_backward_{width}"] = _entry(
            _bind(norm.gated_backward, dout, y, z, weight, GROUPS, EPS),
            [{"BLOCK_T": b, "num_warps": w} for b in (1, 2) for w in (1, 2, 4)],
        )
    channels, taps = 6144, 4
    x, dy = _normal(TOKENS, channels), _normal(TOKENS, channels)
    weight, bias = _normal(channels, taps), _normal(channels)
    shapes = [
        {"CHUNK": c, "BLOCK_C": b, "num_warps": w}
        for c in (64, 128, 256)
        for b, w in ((64, 1), (128, 1), (128, 2), (256, 2))
    ]
    found["conv_forward"] = _entry(_bind(conv.conv_forward, x, weight, bias, LENGTHS), shapes)
    found["conv_backward"] = _entry(_bind(conv.conv_backward, dy, x, weight, bias, LENGTHS), shapes)
    return found


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, device="cuda").bfloat16()


def _bind(call: Callable[..., Any], *args: Any) -> Run:
    return lambda: call(*args)


def _tensors(result: Any) -> list[Tensor]:
    parts: Sequence[Any] = result if isinstance(result, tuple) else (result,)
    return [part for part in parts if isinstance(part, Tensor)]


def _entry(run: Run, choices: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Run, Any]:
    """The first candidate is what the kernel was written with."""
    expected = [t.clone() for t in _tensors(run())]

    def is_right(result: Any) -> bool:
        pairs = zip(_tensors(result), expected, strict=True)
        return all(relative_error(a, b) < BOUND for a, b in pairs)

    return [{}, *choices], run, is_right
