"""Tokens a second, and the share of the machine's peak that they use."""

from __future__ import annotations

import time

import torch

from nautiloid.core.files import atomic_path
from nautiloid.core.run import Run


def measured_flops(device: str, *, trials: int = 5) -> float:
    """FLOP/s of the best of a few matrix products: float32 on a CPU, bfloat16 on a GPU."""
    size, dtype = (8192, torch.bfloat16) if device == "cuda" else (1024, torch.float32)
    a = torch.ones(size, size, device=device, dtype=dtype)
    if device == "cuda":
        a.normal_()  # products of constants draw less power and run faster than real ones
    best_s = float("inf")
    for _ in range(trials):
        _synchronize(device)
        start = time.perf_counter()
        torch.mm(a, a)
        _synchronize(device)
        best_s = min(best_s, time.perf_counter() - start)
    return 2 * size**3 / best_s


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


class Profiler:
    """Records `steps` steps, after two that warm up, into `profile/` of the run folder."""

    def __init__(self, run: Run, steps: int, device: str):
        self.run = run
        self.steps = steps
        self.seen = 0
        activities = [torch.profiler.ProfilerActivity.CPU]
        if device == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self.inner = (
            torch.profiler.profile(activities=activities, record_shapes=True) if steps else None
        )

    def before_step(self) -> None:
        """Start when the warm-up is over."""
        if self.inner is not None and self.seen == 2:
            self.inner.start()
        self.seen += 1

    def after_step(self) -> None:
        """Close when enough steps are recorded."""
        if self.inner is not None and self.seen >= 2 + self.steps:
            self.close()

    def close(self) -> None:
        """Stop and write trace and table of what there is; a run shorter than the warm-up leaves nothing."""
        if self.inner is None or self.seen <= 2:
            return
        self.inner.stop()
        with atomic_path(self.run.path / "profile") as folder:
            folder.mkdir()
            self.inner.export_chrome_trace(str(folder / "trace.json"))
            table = self.inner.key_averages().table(sort_by="self_cpu_time_total", row_limit=40)
            (folder / "table.txt").write_text(table + "\n", encoding="utf-8")
        self.inner = None
