"""One line of JSON a step: written as the run goes, readable at any time."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast


class Metrics:
    """Appends `{"kind", "step", "time", ...values}` lines to a file.

    Args:
        path: The file; lines of steps after a resume point are cut by `truncate`.
        clock: Seconds since the epoch, injected so that tests can fix it.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time):
        self.path = path
        self.clock = clock
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Append one line; non-finite numbers are written as text so that the file stays JSON."""
        line = {"kind": kind, "step": step, "time": round(self.clock(), 3)}
        line |= {k: _plain(v) for k, v in values.items()}
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")

    def truncate(self, step: int) -> None:
        """Drop lines of later steps, which a resumed run will write again."""
        if not self.path.exists():
            return
        kept = [line for line in read_metrics(self.path) if line["step"] <= step]
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        temporary.replace(self.path)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(v) for v in cast(list[Any], value)]
    return value


def read_metrics(path: Path, kind: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the lines of a metrics file; a torn last line is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as handle:
        for text in handle:
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            if kind is None or line["kind"] == kind:
                yield line
