"""Shared cases of the scan's GPU kernels: in Triton's interpreter and, in bf16, on a GPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tests.suites.ops import poisoned_memory
from torch import Tensor
from torch.nn import functional as F

from nautiloid.ops.ssd import reference


@dataclass(frozen=True)
class Case:
    """Sizes of one scan; `is_raw` adds bias, softplus and clamp, and takes strided views."""

    lengths: tuple[int, ...]
    H: int = 2
    P: int = 16
    G: int = 1
    N: int = 16
    has_initial: bool = False
    is_raw: bool = False
    limit: tuple[float, float] = (0.0, float("inf"))


CASES = {
    "one chunk": Case((7,)),
    "odd lengths, packed": Case((70, 1, 64), H=2, G=2, has_initial=True),
    "cut into segments": Case((300,), H=1, P=32, has_initial=True),
    "head width no power of two": Case((75,), P=24),
    "state no power of two": Case((75,), N=24, has_initial=True),
    "state in two parts": Case((66,), H=1, N=128),
    "raw step sizes, strided": Case((65, 3), H=4, G=2, is_raw=True, has_initial=True),
    "raw, clamped": Case((80,), is_raw=True, limit=(0.1, 0.9)),
}

NAMES = ("y", "final", "dx", "d_dt", "d_rate", "dB", "dC", "dD", "d_bias", "d_initial")


def _inputs(case: Case) -> dict[str, Tensor]:
    T, S = sum(case.lengths), len(case.lengths)
    generator = torch.Generator().manual_seed(T + case.N)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    H, P, G, N = case.H, case.P, case.G, case.N
    rate = uniform(H) * 2 if case.is_raw else -4 * uniform(H) - 0.1
    inputs = {
        "x": normal(T, H, P),
        "dt": normal(T, H) if case.is_raw else uniform(T, H) * 0.3 + 0.01,
        "rate": rate,
        "B": 0.4 * normal(T, G, N),
        "C": 0.4 * normal(T, G, N),
        "D": normal(H),
        "bias": 0.5 * normal(H),
        "dy": normal(T, H, P),
        "d_final": normal(S, H, P, N),
        "initial": normal(S, H, P, N),
    }
    if not case.has_initial:
        inputs["initial"] = torch.zeros_like(inputs["initial"])
    return inputs


def _expected(case: Case, v: dict[str, Tensor]) -> list[Tensor]:
    wanted = ("x", "dt", "rate", "B", "C", "D", "bias", "initial")
    v = {k: t.double().requires_grad_(k in wanted) for k, t in v.items()}
    dt, A = v["dt"], v["rate"]
    if case.is_raw:
        dt, A = F.softplus(dt + v["bias"]).clamp(*case.limit), -torch.exp(A)
    y, final = reference.ssd(v["x"], dt, A, v["B"], v["C"], v["D"], case.lengths, v["initial"])
    loss = (y * v["dy"]).sum() + (final * v["d_final"]).sum() + 0 * v["bias"].sum()
    grads = torch.autograd.grad(loss, [v[k] for k in wanted])
    return [y.detach(), final.detach(), *grads]


def _columns(like: Tensor, *parts: Tensor) -> list[Tensor]:
    """Views of the shapes of `parts` as columns of one NaN-filled buffer with rows to spare."""
    widths = [p[0].numel() for p in parts]
    buffer = torch.full((len(like), sum(widths) + 8), float("nan"), dtype=like.dtype)
    buffer = buffer.to(like.device)
    views = buffer[:, : sum(widths)].split(widths, dim=1)
    return [view.unflatten(1, p.shape[1:]) for view, p in zip(views, parts, strict=True)]


def _found(case: Case, v: dict[str, Tensor]) -> list[Tensor | None]:
    from nautiloid.ops.ssd import cuda

    initial = v["initial"] if case.has_initial else None
    if not case.is_raw:
        names = ("x", "dt", "rate", "B", "C", "D")
        leaves = [v[k].requires_grad_() for k in names]
        extra = [] if initial is None else [initial.requires_grad_()]
        y, final = cuda.ssd(*leaves, case.lengths, initial)
        grads = torch.autograd.grad([y, final], [*leaves, *extra], [v["dy"], v["d_final"]])
        return [y.detach(), final.detach(), *grads[:6], None, *(grads[6:] or [None])]
    x, B, C = _columns(v["x"], v["x"], v["B"], v["C"])
    for view, name in ((x, "x"), (B, "B"), (C, "C")):
        view.copy_(v[name])
    dt = _columns(v["dt"], v["dt"], v["x"])[0]
    dt.copy_(v["dt"])
    steps = cuda.Steps(v["bias"], case.limit)
    y = _columns(x, v["x"])[0]
    _, final = cuda.scan_forward(
        x, dt, v["rate"], B, C, v["D"], case.lengths, initial, steps=steps, y_THP=y
    )
    dx, dB, dC = _columns(x, x, B, C)
    d_dt = _columns(dt, dt)[0]
    d_rate, d_D, d_bias, d_initial = cuda.scan_backward(
        v["dy"], x, dt, v["rate"], B, C, v["D"], case.lengths, initial, v["d_final"],
        outputs=(dx, d_dt, dB, dC), steps=steps,
    )  # fmt: skip
    return [y, final, dx, d_dt, d_rate, dB, dC, d_D, d_bias, d_initial]


def _rounded(case: Case, dtype: torch.dtype, device: str) -> dict[str, Tensor]:
    small = ("x", "dt", "B", "C", "dy")
    return {
        k: t.to(device, dtype if k in small else torch.float32) for k, t in _inputs(case).items()
    }


def run(case: Case, dtype: torch.dtype, device: str) -> list[Tensor | None]:
    """Values and gradients (`NAMES`) by the kernels, with fresh memory poisoned."""
    with poisoned_memory():
        return _found(case, _rounded(case, dtype, device))


def check(case: Case, dtype: torch.dtype, device: str, tolerance: float) -> None:
    """Values and gradients against the token-by-token scan in float64, as relative norms."""
    # the reference gets the rounded inputs
    expected = _expected(case, _rounded(case, dtype, device))
    for name, e, f in zip(NAMES, expected, run(case, dtype, device), strict=True):
        if f is None:
            continue
        error = (f.double() - e).norm() / e.norm().clamp(min=1e-12)
        # sums over all tokens lose digits to cancellation
        allowed = tolerance * (10 if name in ("d_rate", "d_bias", "dD") else 1)
        assert error <= allowed, (name, float(error))
