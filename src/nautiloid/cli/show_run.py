"""A run's progress on the terminal, torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.markup import escape
from rich.text import Text

from nautiloid.cli.show import facts_table, settings_tree
from nautiloid.core.report.run_record import RunRecord, read_record
from nautiloid.core.report.table import duration, show


def run(folder: Path) -> list[RenderableType]:
    """Progress, last metrics, final figures, settings."""
    record = read_record(folder)
    parts: list[RenderableType] = [
        Text.from_markup(f"[bold]{escape(record.name)}[/]  [dim]{escape(record.kind)}[/]"),
        facts_table("[bold]progress[/]", _progress(record)),
    ]
    for kind in ("train", "eval", "benchmark"):
        if kind in record.lines:
            newest = {k: show(v) for k, v in record.lines[kind][-1].items() if _is_short(v)}
            del newest["kind"]
            newest.pop("time", None)
            parts.append(facts_table(f"[bold]last {kind}[/]", newest))
    if record.done:
        parts.append(settings_tree("final figures", record.done))
    parts.append(settings_tree("settings", record.settings))
    return parts


def _progress(record: RunRecord) -> dict[str, object]:
    trainer: dict[str, Any] = record.settings.get("trainer") or {}
    step = record.last("train", "step") or 0
    states = sorted(p.name for p in (record.path / "checkpoints").glob("*") if p.is_dir())
    facts: dict[str, object] = {
        "state": "finished" if record.done is not None else "not finished",
        "steps": f"{step:,} of {trainer['num_steps']:,}" if "num_steps" in trainer else "",
        "time": duration(record.duration_s) if record.lines else "",
        "checkpoints": ", ".join(states) or "none",
        "spikes and skipped steps": len(record.lines.get("spike", [])),
    }
    return {name: value for name, value in facts.items() if value != ""}


def _is_short(value: object) -> bool:
    return not isinstance(value, list) or (
        len(value) <= 12 and not any(isinstance(v, list) for v in value)
    )
