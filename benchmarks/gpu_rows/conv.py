"""Causal convolution with SiLU at Nano dims, forward and backward, against its bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from benchmarks.gpu_rows.timing import (
    best_peer,
    bytes_limit_ms,
    compile_candidates_together,
    limits,
    relative_error,
    timed,
)
from benchmarks.results_file import Row
from torch.nn import functional as F

from nautiloid.ops.conv import cuda, reference

TOKENS, LENGTHS, CHANNELS, TAPS = 16384, [8192, 8192], 6144, 4
# the input is the middle of in_proj's output z | x B C | dt
PROJECTED, FIRST = 10304, 4096


class Inputs:
    """Random tensors at full size; the input and its gradient are column slices."""

    def __init__(self) -> None:
        generator = torch.Generator(device="cuda").manual_seed(0)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, device="cuda", generator=generator).bfloat16()

        projected, self.dy = normal(TOKENS, PROJECTED), normal(TOKENS, CHANNELS)
        self.weight, self.bias = normal(CHANNELS, TAPS) * 0.5, normal(CHANNELS)
        columns = slice(FIRST, FIRST + CHANNELS)
        self.x, self.dx = projected[:, columns], torch.empty_like(projected)[:, columns]
        self.out = torch.empty_like(self.dy)

    def forward(self) -> torch.Tensor:
        """Outputs."""
        return cuda.conv_forward(
            self.x, self.weight, self.bias, LENGTHS, out_TC=self.out, wants_last=False
        )[0]

    def backward(self) -> tuple[torch.Tensor, ...]:
        """Gradients of input, taps and bias."""
        return cuda.conv_backward(self.dy, self.x, self.weight, self.bias, LENGTHS, out_TC=self.dx)[
            :3
        ]


def rows() -> list[Row]:
    """The row of the convolution."""
    inputs = Inputs()
    x, weight, bias, dy = inputs.x, inputs.weight, inputs.bias, inputs.dy
    error = _error(x, weight, bias, dy)
    forward, backward = timed(inputs.forward), timed(inputs.backward)
    both = forward.ms + backward.ms
    # forward reads x and writes y; backward reads x and dy and writes dx
    count = 5 * x.numel() * x.element_size()
    least = bytes_limit_ms(count)
    # a multiply-add a tap for the value, its gradient and the taps' gradient, the value twice
    flops = 2 * TAPS * 4 * x.numel()
    compile_candidates_together()
    peer, peers = best_peer(
        {"torch": _torch(x, weight, bias, dy), "fla": _fla(x, weight, bias, dy)}
    )
    return [
        Row(
            work="conv_silu_fwdbwd_2x8192",
            value=both / least,
            unit="time over byte limit",
            better="lower",
            goal=1.5,
            ours=both,
            peer=peer,
            limit=f"{limits(ms=both, count_bytes=count, flops=flops)}; error {error:.1e}; "
            f"forward {forward.ms:.3f} ms, backward {backward.ms:.3f} ms; peers: {peers}",
            reps=forward.reps,
            spread=(
                (forward.spread[0] + backward.spread[0]) / least,
                (forward.spread[1] + backward.spread[1]) / least,
            ),
        )
    ]


def _error(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, dy: torch.Tensor) -> float:
    """Largest relative error of outputs and gradients on two short sequences."""
    lengths, total = [1000, 1500], 2500
    exact = [t.detach().double().requires_grad_() for t in (x[:total], weight, bias)]
    expected, _ = reference.conv_silu(exact[0], exact[1], exact[2], lengths)
    seen = [t.detach().clone().requires_grad_() for t in (x[:total], weight, bias)]
    found, _ = cuda.conv_silu(seen[0], seen[1], seen[2], lengths)
    gradients = torch.autograd.grad(found, seen, dy[:total])
    exact_gradients = torch.autograd.grad(expected, exact, dy[:total].double())
    pairs = zip((found, *gradients), (expected, *exact_gradients), strict=True)
    return max(relative_error(a, b) for a, b in pairs)


def _torch(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, dy: torch.Tensor
) -> Callable[[], object]:
    """The same by torch's convolution and SiLU, in its own layout."""
    inputs = [
        x.unflatten(0, (2, -1)).transpose(1, 2).contiguous().requires_grad_(),
        weight.detach().requires_grad_(),
        bias.detach().requires_grad_(),
    ]
    dy_BCT = dy.unflatten(0, (2, -1)).transpose(1, 2).contiguous()

    def run() -> None:
        data, w, b = inputs
        y = F.silu(F.conv1d(data, w[:, None], b, padding=TAPS - 1, groups=CHANNELS))
        torch.autograd.grad(y[..., : dy_BCT.shape[2]], inputs, dy_BCT)

    return run


def _fla(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, dy: torch.Tensor
) -> Callable[[], object]:
    """The same by fla's Triton kernels, where the package can be imported."""
    data = x.unflatten(0, (2, -1)).contiguous().requires_grad_()
    inputs = [data, weight.detach().requires_grad_(), bias.detach().requires_grad_()]

    def run() -> None:
        from fla.modules.causal_conv1d import causal_conv1d  # pyright: ignore[reportMissingImports]

        y, _ = causal_conv1d(data, inputs[1], inputs[2], activation="silu")
        torch.autograd.grad(y, inputs, dy.view_as(y))

    return run


def candidates() -> dict[str, Any]:
    """Launch parameters to try, by kernel (`tune.py`)."""
    inputs = Inputs()
    exact = [t.float().requires_grad_() for t in (inputs.x, inputs.weight, inputs.bias)]
    expected, _ = reference.conv_silu(exact[0], exact[1], exact[2], LENGTHS)
    gradients = torch.autograd.grad(expected, exact, inputs.dy.float())

    def shapes(*rows: tuple[int, int, int, int]) -> list[dict[str, int]]:
        names = ("BLOCK_C", "num_warps", "ROWS", "CHUNK")
        return [dict(zip(names, row, strict=True)) for row in rows]

    return {
        "conv_forward": (
            shapes((128, 1, 8, 32), (128, 1, 8, 64), (128, 1, 16, 64), (256, 2, 8, 64)),
            inputs.forward,
            lambda y: relative_error(y, expected.detach()) < 5e-3,
        ),
        "conv_backward": (
            shapes((128, 2, 8, 256), (128, 2, 8, 128), (64, 1, 8, 256), (256, 2, 4, 128)),
            inputs.backward,
            lambda found: all(
                relative_error(a, b) < 5e-3 for a, b in zip(found, gradients, strict=True)
            ),
        ),
    }
