"""Timing of kernels on a GPU by its own clock, with cold caches."""

from __future__ import annotations

import contextlib
import functools
import os
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# measured ceilings of an H200: bfloat16 products of 8192^3 random numbers, bytes of a device copy
PEAK_FLOPS = 793e12
PEAK_BYTES_S = 4.24e12
# more than the L2 cache of any Hopper GPU
FLUSH_BYTES = 256 << 20


@dataclass(frozen=True)
class Timed:
    """Milliseconds of one call."""

    ms: float
    spread: tuple[float, float]
    reps: int


@functools.cache
def _flush_buffer() -> Tensor:
    return torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")


def timed(call: Callable[[], object], *, reps: int = 20, warm: int = 3) -> Timed:
    """Median over calls, each after other data went through the cache."""
    for _ in range(warm):
        call()
    marks = [
        (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
        for _ in range(reps)
    ]
    for start, stop in marks:
        _flush_buffer().zero_()
        start.record()
        call()
        stop.record()
    torch.cuda.synchronize()
    times = [start.elapsed_time(stop) for start, stop in marks]
    return Timed(statistics.median(times), (min(times), max(times)), reps)


def peer_ms(call: Callable[[], object], *, reps: int = 5) -> float | None:
    """Milliseconds of another implementation; None where it is not installed or refuses."""
    try:
        return timed(call, reps=reps, warm=2).ms
    except Exception:
        return None


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm; NaN passes no bound."""
    found, expected = (x.detach().double() for x in (found, expected))
    return float((found - expected).norm() / expected.norm())


def bytes_limit_ms(count: float) -> float:
    """Milliseconds of moving bytes at the copy rate."""
    return count / PEAK_BYTES_S * 1e3


def limits(*, ms: float, count_bytes: float, flops: float) -> str:
    """Both limits and the shares reached, as text."""
    by_bytes, by_flops = bytes_limit_ms(count_bytes), flops / PEAK_FLOPS * 1e3
    return f"bytes {by_bytes:.3f} ms ({by_bytes / ms:.0%}), FLOPs {by_flops:.3f} ms ({by_flops / ms:.0%})"


def best_peer(peers: dict[str, Callable[[], object]], *, reps: int = 5) -> tuple[float | None, str]:
    """Milliseconds of the fastest of other implementations, and the times of all as text."""
    times = {name: peer_ms(call, reps=reps) for name, call in peers.items()}
    shown = ", ".join(
        f"{name} {'not run' if ms is None else f'{ms:.3f} ms'}" for name, ms in times.items()
    )
    return min((ms for ms in times.values() if ms is not None), default=None), shown


def compile_candidates_together() -> None:
    """Let a peer that tunes itself at start compile its candidates on all cores; it measures alone."""
    from triton.runtime.autotuner import Autotuner

    prune = Autotuner.prune_configs

    def prune_and_compile(self: Autotuner, kwargs: dict) -> list:
        chosen = prune(self, kwargs)
        args = tuple((self.nargs or {}).values())

        def compiled(config: Any) -> None:
            with contextlib.suppress(Exception):  # the measurement will tell
                self.fn.run(*args, **{**kwargs, **config.all_kwargs(), "warmup": True})

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(compiled, chosen))
        return chosen

    Autotuner.prune_configs = prune_and_compile
