"""Norms at Nano dims against their bytes; reported, without goals."""

from __future__ import annotations

from collections.abc import Callable

import torch
from benchmarks.gpu_rows.timing import bytes_limit_ms, peer_ms, timed
from benchmarks.results_file import Row
from torch.nn import functional as F

from nautiloid.ops.norm import cuda

TOKENS, WIDTH, INNER, GROUPS, EPS = 16384, 2688, 4096, 8, 1e-5
PROJECTED = 10304


def rows() -> list[Row]:
    """Residual RMSNorm and gated group norm, forward and backward."""
    generator = torch.Generator(device="cuda").manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device="cuda", generator=generator).bfloat16()

    x, delta, dy, d_total = (normal(TOKENS, WIDTH) for _ in range(4))
    w, total, out = normal(WIDTH), torch.empty_like(x), torch.empty_like(x)
    y, dout = normal(TOKENS, INNER), normal(TOKENS, INNER)
    projected, d_projected = normal(TOKENS, PROJECTED), normal(TOKENS, PROJECTED)
    z, dz = projected[:, :INNER], d_projected[:, :INNER]
    wide, gated, d_gated = normal(INNER), torch.empty_like(y), torch.empty_like(y)
    into, into_wide = torch.zeros(WIDTH, device="cuda"), torch.zeros(INNER, device="cuda")
    residual, inner = x.nbytes, y.nbytes
    return [
        _row(
            "add_rms_norm_fwd_16384",
            lambda: cuda.rms_forward(x, w, EPS, delta, out_TD=out, total_TD=total),
            4 * residual,
            lambda: F.rms_norm(x + delta, (WIDTH,), w, EPS),
        ),
        _row(
            "add_rms_norm_bwd_16384",
            lambda: cuda.rms_backward(dy, x, w, EPS, d_total, out_TD=out, into_D=into),
            4 * residual,
        ),
        _row(
            "gated_group_norm_fwd_16384",
            lambda: cuda.gated_forward(y, z, wide, GROUPS, EPS, out_TI=gated),
            3 * inner,
            lambda: F.rms_norm((y * F.silu(z)).unflatten(-1, (GROUPS, -1)), (INNER // GROUPS,)),
        ),
        _row(
            "gated_group_norm_bwd_16384",
            lambda: cuda.gated_backward(
                dout, y, z, wide, GROUPS, EPS, dy_TI=d_gated, dz_TI=dz, into_I=into_wide
            ),
            5 * inner,
        ),
    ]


def _row(
    work: str, call: Callable[[], object], count: float, peer: Callable[[], object] | None = None
) -> Row:
    taken, least = timed(call), bytes_limit_ms(count)
    return Row(
        work=work,
        value=taken.ms / least,
        unit="time over byte limit",
        better="lower",
        ours=taken.ms,
        peer=None if peer is None else peer_ms(peer),
        limit=f"bytes {least:.3f} ms ({least / taken.ms:.0%})",
        reps=taken.reps,
        spread=(taken.spread[0] / least, taken.spread[1] / least),
    )
