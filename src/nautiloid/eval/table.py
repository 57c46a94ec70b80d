"""Results as a table on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from nautiloid.eval.runner import Result
from nautiloid.eval.statistics import Estimate


def print_results(results: Sequence[Result], console: Console | None = None) -> None:
    """One row a benchmark and mode, and one a level where there are several."""
    table = Table(
        "benchmark", "thinking", "level", "problems", "accuracy", "95 % interval", "tokens"
    )
    for column in table.columns[3:]:
        column.justify = "right"
    for result in results:
        mode = "on" if result.thinking else "off"
        tokens = f"{result.mean_tokens:.0f}"
        name = result.benchmark
        if len(result.levels) > 1:
            table.add_row(name, mode, "all", *_cells(result.overall), tokens)
            name = mode = tokens = ""
        for level, value in result.levels.items():
            table.add_row(name, mode, str(level), *_cells(value), tokens)
    (console or Console()).print(table)


def _cells(value: Estimate) -> tuple[str, str, str]:
    low, high = value.interval
    return str(value.count), f"{value.mean:.1%}", f"{low:.1%} to {high:.1%}"
