"""The state-space scan at Nano dims, forward and backward, against its bytes, torch and peers.

Peers are measured where their packages can be imported: fla-core (pure Python) and the Triton part of
mamba_ssm (its source distribution on the path; the compiled part is not needed).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch
from benchmarks.gpu_rows.timing import (
    Timed,
    compile_candidates_together,
    limits,
    relative_error,
    timed,
)
from benchmarks.results_file import Row
from torch import Tensor
from torch.nn import functional as F

from nautiloid.ops.ssd import chunked, cuda

LENGTHS = [8192, 8192]
H, P, G, N = 64, 64, 8, 128
# seconds that the peers may take, which compile many candidates
PEERS_S = 120
# a token and head: pairs of a chunk of 64 (shared by a group for C B^T), state read, state written
FORWARD_FLOPS = 2 * 64 * (N * G // H + P) + 2 * 2 * N * P
# the same recomputed, then four products of a chunk and four with states
BACKWARD_FLOPS = 2 * 64 * (3 * N * G // H + 2 * P) + 5 * 2 * N * P


def rows() -> list[Row]:
    """Rows of the forward and of forward and backward."""
    error = _error()
    inputs = _inputs(LENGTHS)
    x, dt, rate, B, C, D, bias = inputs
    dy = torch.randn_like(x)
    steps = cuda.Steps(bias)
    outputs = (torch.empty_like(x), torch.empty_like(dt), torch.empty_like(B), torch.empty_like(C))

    def forward() -> None:
        cuda.scan_forward(x, dt, rate, B, C, D, LENGTHS, steps=steps)

    def both() -> None:
        forward()
        cuda.scan_backward(
            dy, x, dt, rate, B, C, D, LENGTHS, None, None, outputs=outputs, steps=steps
        )

    maps = (x.numel() + B.numel() + C.numel() + dt.numel()) * 2
    forward_bytes = maps + x.numel() * 2
    both_bytes = forward_bytes + 2 * maps + x.numel() * 2
    forward_flops = sum(LENGTHS) * H * FORWARD_FLOPS
    both_flops = forward_flops + sum(LENGTHS) * H * BACKWARD_FLOPS
    first, second = timed(forward), timed(both)
    peers = _peers_apart()
    return [
        _row(
            "ssd_fwd_2x8192",
            0.32,
            first,
            limits(ms=first.ms, count_bytes=forward_bytes, flops=forward_flops),
            error,
            {name: pair[0] for name, pair in peers.items()},
        ),
        _row(
            "ssd_fwdbwd_2x8192",
            1.6,
            second,
            limits(ms=second.ms, count_bytes=both_bytes, flops=both_flops),
            error,
            {name: pair[1] for name, pair in peers.items()},
        ),
    ]


def candidates() -> dict[str, Any]:
    """Launch parameters for `tune.py`, checked against torch in float32."""
    x, dt, rate, B, C, D, bias = _inputs(LENGTHS)
    dy = torch.randn_like(x)
    steps = cuda.Steps(bias)
    run, leaves, weight = _torch(x, dt, rate, B, C, D, bias, dy)
    expected = run()
    wanted = torch.autograd.grad(expected, leaves, weight)

    def forward() -> list[Tensor]:
        return [cuda.scan_forward(x, dt, rate, B, C, D, LENGTHS, steps=steps)[0]]

    def backward() -> list[Tensor]:
        outputs = [torch.empty_like(v) for v in (x, dt, B, C)]
        cuda.scan_backward(
            dy, x, dt, rate, B, C, D, LENGTHS, None, None,
            outputs=(outputs[0], outputs[1], outputs[2], outputs[3]), steps=steps,
        )  # fmt: skip
        return outputs

    def is_right(found: list[Tensor]) -> bool:
        exact = [expected] if len(found) == 1 else wanted
        return all(relative_error(a, b) < 1e-2 for a, b in zip(found, exact, strict=True))

    scans = [{}, {"STAGES": 3}, {"STAGES": 2, "programs": 256}, {"STAGES": 2, "programs": 512}]
    walks = [{}, {"STAGES": 2}, {"STAGES": 4}, {"num_warps": 8}]
    return {
        "ssd_scan": (scans, forward, is_right),
        "ssd_states": (walks, backward, is_right),
        "ssd_gradients": ([{}, {"STAGES": 3}, {"ROLE": 0}], backward, is_right),
    }


def _row(
    work: str, goal: float, found: Timed, limit: str, error: float, peers: dict[str, float | str]
) -> Row:
    rivals = [ms for name, ms in peers.items() if name != "torch" and isinstance(ms, float)]
    seen = ", ".join(
        f"{name} {f'{ms:.3f} ms' if isinstance(ms, float) else ms}" for name, ms in peers.items()
    )
    return Row(
        work=work,
        value=found.ms,
        unit="ms",
        better="lower",
        goal=goal,
        ours=found.ms,
        peer=min(rivals, default=None),
        limit=f"{limit}; error {error:.1e}; {seen}",
        reps=found.reps,
        spread=found.spread,
    )


def _inputs(lengths: list[int]) -> tuple[Tensor, ...]:
    """x, dt before softplus, A_log, B, C, D, bias; x, B, C are columns of one buffer."""
    generator = torch.Generator(device="cuda").manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, device="cuda", generator=generator)

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(H, device="cuda").uniform_(low, high, generator=generator)

    T = sum(lengths)
    u = F.silu(normal(T, H * P + 2 * G * N)).bfloat16()
    x, B, C = u.split([H * P, G * N, G * N], dim=1)
    x, B, C = x.unflatten(1, (H, P)), B.unflatten(1, (G, N)), C.unflatten(1, (G, N))
    dt = (0.5 * normal(T, H)).bfloat16()
    return x, dt, uniform(1, 16).log(), B, C, 1 + 0.1 * normal(H), uniform(0.001, 0.1).log()


def _error() -> float:
    """Largest relative error of outputs and gradients on two short sequences, against float64."""
    lengths = [1000, 700]
    x, dt, rate, B, C, D, bias = _inputs(lengths)
    dy = torch.randn_like(x)
    exact = [v.double().requires_grad_() for v in (x, dt, rate, B, C, D, bias)]
    sizes = F.softplus(exact[1] + exact[6])
    A = -torch.exp(exact[2])
    expected, _ = chunked.ssd(exact[0], sizes, A, exact[3], exact[4], exact[5], lengths)
    wanted = torch.autograd.grad(expected, exact, dy.double())
    steps = cuda.Steps(bias)
    outputs = (torch.empty_like(x), torch.empty_like(dt), torch.empty_like(B), torch.empty_like(C))
    y, _ = cuda.scan_forward(x, dt, rate, B, C, D, lengths, steps=steps)
    d_rate, d_D, d_bias, _ = cuda.scan_backward(
        dy, x, dt, rate, B, C, D, lengths, None, None, outputs=outputs, steps=steps
    )
    found = (y, outputs[0], outputs[1], d_rate, outputs[2], outputs[3], d_D, d_bias)
    return max(relative_error(a, b) for a, b in zip(found, (expected, *wanted), strict=True))


Times = dict[str, tuple[float | str, float | str]]


def _peers_apart() -> Times:
    """`_peers` in a process of its own: one that hangs or dies costs its own figures alone."""
    torch.cuda.empty_cache()
    command = [sys.executable, "-m", "benchmarks.gpu_rows.ssd"]
    try:
        done = subprocess.run(command, timeout=PEERS_S, capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])
    except Exception as error:
        return {"peers": (reason := _reason(error), reason)}


def _peers() -> Times:
    """Forward and forward + backward milliseconds of each peer, or why there are none."""
    inputs = _inputs(LENGTHS)
    dy = torch.randn_like(inputs[0])
    compile_candidates_together()
    out: Times = {}
    makers: dict[str, Callable[..., Peer]] = {"torch": _torch, "mamba_ssm": _mamba_ssm, "fla": _fla}
    for name, make in makers.items():
        try:
            forward, leaves, weight = make(*inputs, dy)
        except Exception as error:
            out[name] = (reason := _reason(error), reason)
            continue
        reps = 3 if name == "torch" else 10
        out[name] = (
            _measured(forward, reps),
            _measured(lambda f=forward, v=leaves, w=weight: torch.autograd.grad(f(), v, w), reps),
        )
    return out


def _measured(call: Callable[[], object], reps: int) -> float | str:
    try:
        return timed(call, reps=reps, warm=2).ms
    except Exception as error:
        torch.cuda.empty_cache()
        return _reason(error)


def _reason(error: Exception) -> str:
    return f"none ({type(error).__name__}: {str(error).splitlines()[0][:80] if str(error) else ''})"


Peer = tuple[Callable[[], Tensor], list[Tensor], Tensor]


def _torch(
    x: Tensor, dt: Tensor, rate: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor, dy: Tensor
) -> Peer:
    leaves = [v.detach().contiguous().requires_grad_() for v in (x, dt, B, C)]

    def run() -> Tensor:
        sizes = F.softplus(leaves[1].float() + bias)
        data, b, c = (leaves[i].float() for i in (0, 2, 3))
        return chunked.ssd(data, sizes, -torch.exp(rate), b, c, D, LENGTHS)[0].bfloat16()

    return run, leaves, dy


def _batched(v: Tensor) -> Tensor:
    return v.detach().reshape(len(LENGTHS), -1, *v.shape[1:]).contiguous().requires_grad_()


def _mamba_ssm(
    x: Tensor, dt: Tensor, rate: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor, dy: Tensor
) -> Peer:
    from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined  # pyright: ignore[reportMissingImports]

    data, sizes, b, c = leaves = [_batched(v) for v in (x, dt, B, C)]
    A = -torch.exp(rate)

    def run() -> Tensor:
        return mamba_chunk_scan_combined(
            data, sizes, A, b, c, 128, D=D, dt_bias=bias, dt_softplus=True
        )

    return run, leaves, dy.view_as(data)


def _fla(
    x: Tensor, dt: Tensor, rate: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor, dy: Tensor
) -> Peer:
    """Without softplus, skip and dt x, and with B and C repeated for the heads beforehand."""
    from fla.ops.simple_gla import chunk_simple_gla  # pyright: ignore[reportMissingImports]

    sizes = F.softplus(dt.float() + bias)
    u = _batched((x.float() * sizes[..., None]).bfloat16())
    b, c = (_batched(v.repeat_interleave(H // G, 1)) for v in (B, C))
    decay = _batched(-torch.exp(rate) * sizes)

    def run() -> Tensor:
        return chunk_simple_gla(c, b, u, decay, scale=1.0)[0]

    return run, [u, b, c, decay], dy.view_as(u)


if __name__ == "__main__":
    print(json.dumps(_peers()))
