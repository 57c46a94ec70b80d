"""Benchmark results as JSON: one shape for every script."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from nautiloid.core.files import write_json
from nautiloid.core.run import environment

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured figure.

    Args:
        work: Row id.
        value: Median over the repetitions; None when it was not run, with a `reason`.
        peer: The peer's figure of the same run, in the unit of `ours`.
        limit: What the hardware allows, with the share reached.
        spread: Smallest and largest value over the repetitions.
    """

    work: str
    value: float | None
    unit: str
    better: Literal["higher", "lower"] = "higher"
    goal: float | None = None
    ours: float | None = None
    peer: float | None = None
    limit: str | None = None
    reps: int = 0
    spread: tuple[float, float] | None = None
    reason: str | None = None

    @property
    def is_met(self) -> bool:
        """Whether the goal is reached; a row without a goal only reports."""
        if self.goal is None:
            return self.value is not None
        if self.value is None:
            return False
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal


def write_results(
    name: str,
    rows: Sequence[Row],
    *,
    notes: dict[str, object] | None = None,
    to_file: bool = True,
) -> None:
    """Print one table and write `results/<name>.json`."""
    table = Table(title=name)
    for column in ("work", "value", "unit", "goal", "ours", "peer", "limit", "met"):
        table.add_column(column)
    for row in rows:
        figures = (row.value, row.unit, row.goal, row.ours, row.peer, row.limit)
        shown = [
            f"{f:.4g}" if isinstance(f, float) else str(f if f is not None else "-")
            for f in figures
        ]
        table.add_row(row.work, *shown, "yes" if row.is_met else f"no {row.reason or ''}")
    Console(width=150).print(table)
    if not to_file:
        return
    facts = environment()
    write_json(
        RESULTS / f"{name}.json",
        {
            "hardware": {"processor": facts["processor"], "cores": facts["cores"]},
            "versions": {"python": facts["python"], **facts["versions"]},
            "commit": facts["commit"],
            "date": datetime.date.today().isoformat(),
            "command": "python " + " ".join(sys.argv),
            **(notes or {}),
            "rows": [asdict(row) for row in rows],
        },
    )
