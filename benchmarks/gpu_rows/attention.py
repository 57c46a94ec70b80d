"""Packed causal attention, 32 query and 2 key/value heads of width 128; reported, without goals."""

from __future__ import annotations

from collections.abc import Callable

import torch
from benchmarks.gpu_rows.timing import PEAK_FLOPS, peer_ms, relative_error, timed
from benchmarks.results_file import Row

from nautiloid.ops.attention import cuda, reference
from nautiloid.ops.packing import cu_seqlens

QUERIES, GROUPS, WIDTH = 32, 2, 128
SCALE = WIDTH**-0.5
PACKINGS = {"2x8192": [8192, 8192], "1x16384": [16384], "packed_16384": [9000, 4000, 2500, 884]}


def rows() -> list[Row]:
    """Forward, and forward plus backward, of equal and unequal lengths."""
    found: list[Row] = []
    for name, lengths in PACKINGS.items():
        q, k, v, dout = _inputs(sum(lengths))
        # two products over the lower triangle; the backward has five
        flops = 2 * sum(n * n for n in lengths) * QUERIES * WIDTH
        error = _error()

        def forward() -> torch.Tensor:
            return cuda.attention(q, k, v, lengths, scale=SCALE)  # noqa: B023

        def both() -> None:
            torch.autograd.grad(forward(), (q, k, v), dout)  # noqa: B023

        def flash() -> None:
            starts, most = cu_seqlens(lengths, q.device), max(lengths)  # noqa: B023
            torch.ops.aten._flash_attention_forward(
                q, k, v, starts, starts, most, most, 0.0, True, False, scale=SCALE  # noqa: B023
            )  # fmt: skip

        with torch.no_grad():
            found.append(_row(f"attention_fwd_{name}", forward, flops, error, flash))
        found.append(_row(f"attention_fwdbwd_{name}", both, 3.5 * flops, error))
    return found


def _inputs(tokens: int) -> list[torch.Tensor]:
    generator = torch.Generator(device="cuda").manual_seed(0)
    return [
        torch.randn(tokens, heads, WIDTH, device="cuda", generator=generator)
        .bfloat16()
        .requires_grad_(i < 3)
        for i, heads in enumerate((QUERIES, GROUPS, GROUPS, QUERIES))
    ]


def _error() -> float:
    """Largest relative error of outputs and gradients of unequal lengths."""
    lengths = [500, 300, 224]
    q, k, v, dout = _inputs(sum(lengths))
    exact = [x.detach().double().requires_grad_() for x in (q, k, v)]
    expected = reference.attention(exact[0], exact[1], exact[2], lengths, scale=SCALE)
    found = cuda.attention(q, k, v, lengths, scale=SCALE)
    pairs = zip(
        (found, *torch.autograd.grad(found, (q, k, v), dout)),
        (expected, *torch.autograd.grad(expected, exact, dout.double())),
        strict=True,
    )
    return max(relative_error(a, b) for a, b in pairs)


def _row(
    work: str,
    call: Callable[[], object],
    flops: float,
    error: float,
    peer: Callable[[], object] | None = None,
) -> Row:
    taken = timed(call, reps=10, warm=2)
    rate = flops / taken.ms / 1e9
    other = None if peer is None else peer_ms(peer)
    return Row(
        work=work,
        value=rate,
        unit="TFLOP/s",
        ours=taken.ms,
        peer=other,
        limit=f"FLOPs {flops / PEAK_FLOPS * 1e3:.3f} ms ({rate * 1e12 / PEAK_FLOPS:.0%}); "
        f"error {error:.1e}; peer is torch's flash kernel",
        reps=taken.reps,
        spread=(flops / taken.spread[1] / 1e9, flops / taken.spread[0] / 1e9),
    )
