"""Measures launch parameters of the kernels and writes src/nautiloid/ops/tuned/<gpu>.json.

    python benchmarks/tune.py            # all kernels
    python benchmarks/tune.py adamw      # kernels whose name starts so; the rest of the file stays

Each file `gpu_rows/*.py` that has kernels to tune gives them by `candidates()`: for every kernel name
its parameters to try and a function that makes one fresh run with them and checks its result. A
candidate that fails the check, or does not compile, is left out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.gpu_rows.timing import timed  # noqa: E402

from nautiloid.core.files import write_json  # noqa: E402
from nautiloid.ops import tuning  # noqa: E402

# what `candidates()` returns: parameters to try, a run, and a check of its result
Candidates = Mapping[str, tuple[list[dict[str, Any]], Callable[[], Any], Callable[[Any], bool]]]
# a new choice must win by this much, or the file would change with every run
MARGIN = 0.02
ROUNDS = 7


def main() -> int:
    """Tune, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("prefix", nargs="?", default="", help="names of kernels start with it")
    options = parser.parse_args()
    path = tuning.FOLDER / f"{tuning.gpu_name()}.json"
    table: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    for file in sorted((ROOT / "benchmarks" / "gpu_rows").glob("*.py")):
        if "def candidates(" not in file.read_text():
            continue
        module = importlib.import_module(f"benchmarks.gpu_rows.{file.stem}")
        for kernel, (choices, run, check) in module.candidates().items():
            if kernel.startswith(options.prefix):
                best = _best(kernel, choices, run, check)
                if best is not None:
                    table.pop(kernel, None)
                if best:  # the parameters the kernel was written with need no entry
                    table[kernel] = best
    path.parent.mkdir(exist_ok=True)
    write_json(path, dict(sorted(table.items())))
    print(f"written to {path}")
    return 0


def _best(
    kernel: str,
    choices: list[dict[str, Any]],
    run: Callable[[], Any],
    check: Callable[[Any], bool],
) -> dict[str, Any] | None:
    """The fastest of the choices that compute the right thing; the first wins near ties.

    Choices take turns: the clock of a GPU that gets warm would favour the first ones.
    """
    right = [choice for choice in choices if _is_right(kernel, choice, run, check)]
    if not right:
        return None
    times: list[list[float]] = [[] for _ in right]
    for _ in range(ROUNDS):
        for choice, taken in zip(right, times, strict=True):
            with tuning.trying(kernel, choice):
                taken.append(timed(run, reps=8).ms)
    medians = [statistics.median(taken) for taken in times]
    for choice, ms in zip(right, medians, strict=True):
        print(f"{kernel} {choice}: {ms:.4f} ms")
    return next(
        c for c, ms in zip(right, medians, strict=True) if ms <= min(medians) * (1 + MARGIN)
    )


def _is_right(
    kernel: str,
    choice: dict[str, Any],
    run: Callable[[], Any],
    check: Callable[[Any], bool],
) -> bool:
    with tuning.trying(kernel, choice):
        try:
            is_right = check(run())
        except Exception as error:  # a tile that does not fit the chip
            print(f"{kernel} {choice}: {type(error).__name__}")
            return False
    if not is_right:
        print(f"{kernel} {choice}: wrong result")
    return is_right


if __name__ == "__main__":
    raise SystemExit(main())
