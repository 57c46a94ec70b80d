"""A benchmark of many parts: each in its own process, one table, one results file.

Every part is a file of a folder with a function `rows()`, a list or a generator of rows. One that fails costs its own rows alone.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.results_file import RESULTS, Row, write_results

from nautiloid.core.files import write_json

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Parts:
    """One script and its parts.

    Args:
        script: The file that is run.
        results: Name of the results file.
        folder: Folder of the parts, inside `benchmarks`.
        last: Parts that run after all others.
        flags: Options of a part, `--flag` on the command line and a keyword of `rows`.
    """

    script: str
    results: str
    folder: str
    last: Sequence[str] = ()
    flags: Sequence[str] = ()

    def names(self) -> list[str]:
        """Parts in alphabetical order, the last ones last."""
        files = (ROOT / "benchmarks" / self.folder).glob("*.py")
        found = sorted(f.stem for f in files if "def rows(" in f.read_text())
        return sorted(found, key=lambda name: (name in self.last, name))

    def main(self, description: str | None) -> int:
        """Run the parts, print one table, write the results; 1 when a goal is missed."""
        options = self._options(description)
        flags = {name: True for name in self.flags if getattr(options, name)}
        if options.into:
            part = importlib.import_module(f"benchmarks.{self.folder}.{options.parts[0]}")
            found: list[dict[str, Any]] = []
            for row in part.rows(**flags):  # kept one by one: a later one may not come
                found.append(asdict(row))
                write_json(Path(options.into), found)
            return 0
        if options.list:
            print(*self.names(), sep="\n")
            return 0
        names = options.parts or self.names()
        is_whole = not options.parts and not flags
        rows: list[Row] = []
        for name in names:
            rows += self._run(name, options.timeout, flags)
        if options.merge and options.parts:
            rows = self._merged(rows, names)
        write_results(self.results, rows, notes=gpu_facts(), to_file=is_whole or options.merge)
        return 0 if all(row.is_met for row in rows) else 1

    def _options(self, description: str | None) -> argparse.Namespace:
        parser = argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawTextHelpFormatter
        )
        parser.add_argument(
            "parts", nargs="*", help=f"files of {self.folder}; all when none is named"
        )
        parser.add_argument("--list", action="store_true", help="print the names of the parts")
        parser.add_argument(
            "--merge", action="store_true", help="renew the rows of these parts only"
        )
        parser.add_argument("--timeout", type=int, default=600, help="seconds a part may take")
        parser.add_argument("--into", help=argparse.SUPPRESS)
        for flag in self.flags:
            parser.add_argument(f"--{flag}", action="store_true", help=argparse.SUPPRESS)
        options = parser.parse_args()
        known = self.names()
        for name in options.parts:
            if name not in known:
                parser.error(f"no part {name!r}; there are {', '.join(known)}")
        return options

    def _run(self, name: str, timeout: int, flags: dict[str, bool]) -> list[Row]:
        """The rows of a part, and one more that says why it did not end well."""
        with tempfile.TemporaryDirectory() as folder:
            into = Path(folder) / "rows.json"
            command = [sys.executable, self.script, name, "--into", str(into)]
            command += [f"--{flag}" for flag in flags]
            print(f"== {name}", flush=True)
            try:
                done = subprocess.run(command, timeout=timeout, check=False, env=environment())
                reason = f"exit code {done.returncode}" if done.returncode else None
            except subprocess.TimeoutExpired:
                reason = f"no end after {timeout} s"
            rows = [_row(row) for row in json.loads(into.read_text())] if into.is_file() else []
        if reason is not None:
            rows.append(Row(work=name, value=None, unit="-", reason=reason))
        return rows

    def _merged(self, rows: list[Row], parts: list[str]) -> list[Row]:
        """The stored rows with those of the same id renewed; a row named like a part says that it failed."""
        path = RESULTS / f"{self.results}.json"
        stored = json.loads(path.read_text())["rows"] if path.is_file() else []
        fresh = {row.work: row for row in rows}
        kept = [_row(row) for row in stored]
        merged = [fresh.pop(row.work, row) for row in kept if row.work not in parts]
        return [*merged, *fresh.values()]


def _row(values: dict[str, Any]) -> Row:
    spread = values["spread"]
    return Row(**{**values, "spread": None if spread is None else (spread[0], spread[1])})


def environment() -> dict[str, str]:
    """The environment of a process that imports this package and the benchmarks."""
    paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}


def gpu_facts() -> dict[str, object]:
    """What the results file says of the GPU."""
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
