"""Kernels and whole training steps on one GPU, against their byte and FLOP limits and against peers.

    python benchmarks/gpu.py                 # everything: results/gpu.json
    python benchmarks/gpu.py ssd step        # some parts, printed only
    python benchmarks/gpu.py step --merge    # some parts, their rows renewed in results/gpu.json

Every part is a file of `gpu_rows/` with a function `rows()`, which compares with a reference in higher
precision before it measures. A part runs in its own process: one that fails costs its own rows alone.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.results_file import RESULTS, Row, write_results  # noqa: E402

PARTS = ROOT / "benchmarks" / "gpu_rows"


def main() -> int:
    """Run the parts, print one table, write the results."""
    options = _options()
    if options.into:
        rows = importlib.import_module(f"benchmarks.gpu_rows.{options.parts[0]}").rows()
        Path(options.into).write_text(json.dumps([asdict(row) for row in rows]))
        return 0
    names = options.parts or part_names()
    if options.list:
        print(*part_names(), sep="\n")
        return 0
    rows: list[Row] = []
    for name in names:
        rows += _run(name, options.timeout)
    is_whole = not options.parts
    if options.merge and not is_whole:
        rows = _merged(rows, names)
    write_results("gpu", rows, notes=_gpu_facts(), to_file=is_whole or options.merge)
    return 0 if all(row.is_met for row in rows) else 1


def part_names() -> list[str]:
    """Parts in alphabetical order; whole steps last, they need all of the memory."""
    found = sorted(f.stem for f in PARTS.glob("*.py") if "def rows(" in f.read_text())
    return sorted(found, key=lambda name: (name == "step", name))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help="files of gpu_rows; all when none is named")
    parser.add_argument("--list", action="store_true", help="print the names of the parts")
    parser.add_argument("--merge", action="store_true", help="renew the rows of these parts only")
    parser.add_argument("--timeout", type=int, default=600, help="seconds a part may take")
    parser.add_argument("--into", help=argparse.SUPPRESS)
    options = parser.parse_args()
    known = part_names()
    for name in options.parts:
        if name not in known:
            parser.error(f"no part {name!r}; there are {', '.join(known)}")
    return options


def _run(name: str, timeout: int) -> list[Row]:
    """The rows of a part, or one row that says why there are none."""
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "rows.json"
        command = [sys.executable, __file__, name, "--into", str(into)]
        print(f"== {name}", flush=True)
        try:
            done = subprocess.run(command, timeout=timeout, check=False, env=_environment())
            reason = f"exit code {done.returncode}"
        except subprocess.TimeoutExpired:
            reason = f"no end after {timeout} s"
        if into.is_file():
            return [
                Row(**{**row, "spread": _pair(row["spread"])})
                for row in json.loads(into.read_text())
            ]
    return [Row(work=name, value=None, unit="-", reason=reason)]


def _pair(values: Any) -> tuple[float, float] | None:
    return None if values is None else (values[0], values[1])


def _environment() -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}


def _merged(rows: list[Row], parts: list[str]) -> list[Row]:
    """The stored rows with those of the same id renewed; a row named like a part says that it failed."""
    path = RESULTS / "gpu.json"
    stored = json.loads(path.read_text())["rows"] if path.is_file() else []
    fresh = {row.work: row for row in rows}
    kept = [Row(**{**row, "spread": _pair(row["spread"])}) for row in stored]
    merged = [fresh.pop(row.work, row) for row in kept if row.work not in parts]
    return [*merged, *fresh.values()]


def _gpu_facts() -> dict[str, object]:
    import torch

    if not torch.cuda.is_available():
        return {"gpu": None}
    facts = torch.cuda.get_device_properties(0)
    triton = importlib.import_module("triton").__version__
    return {
        "gpu": {
            "name": facts.name,
            "memory_bytes": facts.total_memory,
            "processors": facts.multi_processor_count,
            "cuda": torch.version.cuda,
            "triton": triton,
        }
    }


if __name__ == "__main__":
    raise SystemExit(main())
