"""Progress: one rich bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Generator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger("nautiloid.progress")


class Bar:
    """Counts `total` units of work and shows the newest figures beside the count."""

    def __init__(
        self, description: str, total: int, start: int, every_s: float, rich: Progress | None
    ):
        self.description = description
        self.total = total
        self.count = start
        self.every_s = every_s
        self.rich = rich
        self.spoke_at = time.monotonic()
        self.task = (
            rich.add_task(description, total=total, completed=start, figures="") if rich else None
        )

    def advance(self, count: int = 1, **figures: float | str) -> None:
        """Move on by `count`; `figures` are shown as `name value`."""
        self.count += count
        text = "  ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in figures.items()
        )
        if self.rich is not None and self.task is not None:
            self.rich.update(self.task, completed=self.count, figures=text)
        elif time.monotonic() - self.spoke_at >= self.every_s or self.count >= self.total:
            self.spoke_at = time.monotonic()
            log.info("%s %d/%d  %s", self.description, self.count, self.total, text)


@contextlib.contextmanager
def progress(
    description: str,
    total: int,
    *,
    start: int = 0,
    every_s: float = 10.0,
    console: Console | None = None,
) -> Generator[Bar, None, None]:
    """Show progress of `total` units while the body runs."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield Bar(description, total, start, every_s, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=console, transient=False) as rich:
        yield Bar(description, total, start, every_s, rich)
