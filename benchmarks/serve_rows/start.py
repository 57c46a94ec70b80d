"""From nothing to the first token: a fresh process, weights in memory, kernels compiled or not."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.parts import environment
from benchmarks.results_file import Row
from benchmarks.serve_rows.folders import write_random
from benchmarks.serve_rows.scale import Scale

from nautiloid.model.presets import preset

MEMORY = Path("/dev/shm")
MODULE = "benchmarks.serve_rows.first_token"


def rows(tiny: bool = False, profile: bool = False) -> Iterator[Row]:
    """Without any compiled kernel, then with them; weights alone."""
    scale = Scale(tiny)
    config = scale.config(preset("nemotron-3-nano-30b-a3b"))
    parent = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=parent, prefix="nautiloid-") as place:
        folder = Path(place) / "model"
        begin = time.perf_counter()
        size = write_random(folder, config)
        print(f"{size / 1e9:.1f} GB written in {time.perf_counter() - begin:.1f} s", flush=True)
        cache = Path(place) / "kernels"
        cold, phases = _first_token(folder, cache, scale.device)
        yield _row("start_cold", cold, 90.0, phases, "no compiled kernel on disk")
        warm, phases = _first_token(folder, cache, scale.device)
        yield _row("start_warm", warm, 25.0, phases, "kernels on disk")
        seconds = phases["weights"] - phases["imports"]
        yield Row(
            work="start_weights",
            value=size / seconds / 1e9,
            unit="GB/s",
            ours=seconds,
            limit=f"{size / 1e9:.1f} GB from {parent or 'a disk'}, model and GPU made in the same time",
            reps=1,
        )
        shutil.rmtree(folder)


def _first_token(folder: Path, cache: Path, device: str) -> tuple[float, dict[str, float]]:
    """Seconds to the first token, and at the end of each phase."""
    env = {**environment(), "TRITON_CACHE_DIR": str(cache)}
    started = time.time()
    command = [sys.executable, "-m", MODULE, str(folder), device, str(started)]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    phases = json.loads(done.stdout.splitlines()[-1])
    print(phases, flush=True)
    return phases["first_token"], phases


def _row(work: str, value: float, goal: float, phases: dict[str, float], note: str) -> Row:
    names = ("python", "imports", "weights", "engine", "first_token")
    ends = [0.0, *(phases[name] for name in names)]
    spent = [b - a for a, b in itertools.pairwise(ends)]
    shown = ", ".join(f"{name} {s:.1f}" for name, s in zip(names, spent, strict=True))
    return Row(
        work=work,
        value=value,
        unit="s to the first token",
        better="lower",
        goal=goal,
        ours=value,
        peer=131.0,
        limit=f"seconds: {shown}",
        reps=1,
        reason=f"{note}; weights in memory, a process of its own",
    )
