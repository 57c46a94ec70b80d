"""Logging: rich on a terminal, JSON lines in the run folder."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler


class JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Encode time, level, logger, message and traceback."""
        line = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def setup_logging(console: Console | None = None, *, verbose: bool = False) -> None:
    """Send the package's log to the terminal (standard error)."""
    logger = logging.getLogger("nautiloid")
    logger.setLevel(logging.DEBUG)
    for handler in list(logger.handlers):
        if isinstance(handler, RichHandler):
            logger.removeHandler(handler)
    console = console or Console(stderr=True)
    handler = RichHandler(console=console, show_path=False, log_time_format="%H:%M:%S")
    handler.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.addHandler(handler)


def file_handler(path: Path) -> logging.Handler:
    """A handler that appends JSON lines to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(JsonLines())
    handler.setLevel(logging.DEBUG)
    return handler
