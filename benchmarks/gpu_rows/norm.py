"""Norms at Nano dims against their bytes; reported, without goals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from benchmarks.gpu_rows.timing import bytes_limit_ms, peer_ms, relative_error, timed
from benchmarks.results_file import Row
from torch.nn import functional as F

from nautiloid.ops.norm import cuda, reference

TOKENS, WIDTH, INNER, GROUPS, EPS = 16384, 2688, 4096, 8, 1e-5
PROJECTED = 10304


class Inputs:
    """Random tensors at full size; z and its gradient are column slices."""

    def __init__(self) -> None:
        generator = torch.Generator(device="cuda").manual_seed(0)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, device="cuda", generator=generator).bfloat16()

        self.x, self.delta, self.dy, self.d_total = (normal(TOKENS, WIDTH) for _ in range(4))
        self.w, self.total, self.out = normal(WIDTH), *(torch.empty_like(self.x) for _ in range(2))
        self.y, self.dout = normal(TOKENS, INNER), normal(TOKENS, INNER)
        projected = normal(TOKENS, PROJECTED)
        self.z, self.dz = projected[:, :INNER], torch.empty_like(projected)[:, :INNER]
        self.wide = normal(INNER)
        self.gated, self.d_gated = torch.empty_like(self.y), torch.empty_like(self.y)

    def add_forward(self) -> tuple[torch.Tensor | None, ...]:
        """The norm and the residual sum."""
        return cuda.rms_forward(
            self.x, self.w, EPS, self.delta, out_TD=self.out, total_TD=self.total
        )

    def add_backward(self) -> tuple[torch.Tensor, ...]:
        """Gradients of the sum and the weight."""
        return cuda.rms_backward(self.dy, self.x, self.w, EPS, self.d_total, out_TD=self.out)

    def gated_forward(self) -> torch.Tensor:
        """The gated norm."""
        return cuda.gated_forward(self.y, self.z, self.wide, GROUPS, EPS, out_TI=self.gated)

    def gated_backward(self) -> tuple[torch.Tensor, ...]:
        """Gradients of y, z and the weight."""
        return cuda.gated_backward(
            self.dout, self.y, self.z, self.wide, GROUPS, EPS, dy_TI=self.d_gated, dz_TI=self.dz
        )

    def expected(self) -> list[list[torch.Tensor]]:
        """What the four calls must give, by the formulas in float32."""
        x, delta, w = (t.float().requires_grad_() for t in (self.x, self.delta, self.w))
        total = x + delta
        of_sum = [reference.rms_norm(total.bfloat16().float(), w, EPS).detach(), total.detach()]
        norm = reference.rms_norm(x, w, EPS)
        dx, dw = torch.autograd.grad(norm, (x, w), self.dy.float())
        inputs = [t.float().requires_grad_() for t in (self.y, self.z, self.wide)]
        gated = reference.gated_group_norm(inputs[0], inputs[1], inputs[2], GROUPS, EPS)
        gradients = torch.autograd.grad(gated, inputs, self.dout.float())
        return [of_sum, [dx + self.d_total.float(), dw], [gated.detach()], list(gradients)]


def rows() -> list[Row]:
    """Residual RMSNorm and gated group norm, forward and backward."""
    data = Inputs()
    calls = (data.add_forward, data.add_backward, data.gated_forward, data.gated_backward)
    errors = [_error(call(), exact) for call, exact in zip(calls, data.expected(), strict=True)]
    residual, inner = data.x.nbytes, data.y.nbytes
    peers = (
        lambda: F.rms_norm(data.x + data.delta, (WIDTH,), data.w, EPS),
        None,
        lambda: F.rms_norm(
            (data.y * F.silu(data.z)).unflatten(-1, (GROUPS, -1)), (INNER // GROUPS,)
        ),
        None,
    )
    names = ("add_rms_norm_fwd", "add_rms_norm_bwd", "gated_group_norm_fwd", "gated_group_norm_bwd")
    counts = (4 * residual, 4 * residual, 3 * inner, 5 * inner)
    return [
        _row(f"{name}_{TOKENS}", call, count, error, peer)
        for name, call, count, error, peer in zip(names, calls, counts, errors, peers, strict=True)
    ]


def candidates() -> dict[str, Any]:
    """Launch parameters to try, by kernel (`tune.py`)."""
    data = Inputs()
    expected = data.expected()

    def trial(call: Callable[[], Any], exact: Sequence[torch.Tensor], *choices: dict[str, int]):
        return list(choices), call, lambda found: _error(found, exact) < 5e-3

    width = INNER // GROUPS
    return {
        f"rms_backward_{WIDTH}": trial(
            data.add_backward,
            expected[1],
            *({"programs": p, "num_warps": w} for p, w in ((264, 8), (264, 4), (132, 16))),
        ),
        f"gated_forward_{width}": trial(
            data.gated_forward,
            expected[2],
            *({"BLOCK_T": t, "num_warps": w} for t, w in ((4, 4), (2, 2), (1, 1))),
        ),
        f"gated_backward_{width}": trial(
            data.gated_backward,
            expected[3],
            *({"programs": p, "num_warps": w} for p, w in ((132, 2), (264, 2), (115, 4))),
        ),
    }


def _error(found: Any, exact: Sequence[torch.Tensor]) -> float:
    """Largest relative error of one or several results."""
    results = found if isinstance(found, tuple) else (found,)
    return max(relative_error(a, b) for a, b in zip(results, exact, strict=True))


def _row(
    work: str,
    call: Callable[[], object],
    count: float,
    error: float,
    peer: Callable[[], object] | None,
) -> Row:
    taken, least = timed(call), bytes_limit_ms(count)
    return Row(
        work=work,
        value=taken.ms / least,
        unit="time over byte limit",
        better="lower",
        ours=taken.ms,
        peer=None if peer is None else peer_ms(peer),
        limit=f"bytes {least:.3f} ms ({least / taken.ms:.0%}); error {error:.1e}; peer is torch",
        reps=taken.reps,
        spread=(taken.spread[0] / least, taken.spread[1] / least),
    )
