"""The report of one or several runs: curves, expert load, scores, samples, provenance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from nautiloid.core.files import write_text
from nautiloid.core.report.html import Html, join, tag
from nautiloid.core.report.page import Section, page
from nautiloid.core.report.run_charts import charts
from nautiloid.core.report.run_record import RunRecord, find_runs
from nautiloid.core.report.run_scores import chats, scores
from nautiloid.core.report.table import amount, duration, facts, show, table, tiles, tree

VERBS = {
    "train.pretrain": "pretraining",
    "train.sft": "supervised tuning",
    "train.distill": "distillation",
    "eval.recipe": "evaluation",
}


def write_report(folders: Sequence[Path], out: Path, *, title: str | None = None) -> None:
    """Write one self-contained HTML file about the given runs and those directly below them.

    Raises:
        InputError: A folder holds no run, or matplotlib is not installed.
    """
    records = find_runs(folders)
    title = title or (records[0].name if len(records) == 1 else folders[0].resolve().name)
    is_one = len(records) == 1
    sections = [] if is_one else _overview(records)
    sections += [run_section(r, f"run-{i}", has_results=is_one) for i, r in enumerate(records)]
    environment = max((r.environment for r in records), key=len)
    lead = " \u00b7 ".join(
        str(part)
        for part in (
            environment.get("processor"),
            f"{environment['cores']} cores" if "cores" in environment else "",
            environment.get("platform"),
        )
        if part
    )
    version = environment.get("versions", {}).get("nautiloid", "")
    write_text(out, page(title, lead, sections, footer=f"Written by nautiloid {version}"))


def _overview(records: Sequence[RunRecord]) -> list[Section]:
    rows = [
        (
            record.name,
            VERBS.get(record.kind, record.kind),
            duration(record.duration_s),
            show(record.last("train", "step") or ""),
            amount(record.last("train", "tokens") or 0),
            _figure(record.last("train", "loss")),
            _figure(record.last("eval", "loss")),
            "finished" if record.done is not None else "not finished",
        )
        for record in records
    ]
    header = ("run", "what", "time", "steps", "tokens", "training loss", "held-out loss", "state")
    sections = [Section("overview", "Overview", "", table(header, rows))]
    results = [(record.name, result) for record in records for result in record.results]
    if results:
        body = join(scores(results), chats(results))
        sections.append(Section("scores", "What it can do", "on problems it never saw", body))
    return sections


def run_section(record: RunRecord, anchor: str, *, has_results: bool = True) -> Section:
    """Everything about one run; its scores may stand elsewhere."""
    state = "finished" if record.done is not None else "not finished"
    lead = f"{VERBS.get(record.kind, record.kind)}, {state}, {record.path.name}"
    results = [(record.name, r) for r in record.results] if has_results else []
    parts = (
        tiles(_key_figures(record)),
        scores(results),
        charts(record),
        chats(results),
        _provenance(record),
    )
    return Section(anchor, record.name, lead, join(*parts))


def _figure(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else str(value or "")


def _key_figures(record: RunRecord) -> dict[str, object]:
    speeds = sorted(v for v in record.series("train", "tokens_per_s")[1] if v is not None)
    utilisation = sorted(v for v in record.series("train", "mfu")[1] if v is not None)
    figures: dict[str, object] = {
        "training loss": _figure(record.last("train", "loss")),
        "held-out loss": _figure(record.last("eval", "loss")),
        "held-out bits per byte": _figure(record.last("eval", "bits_per_byte")),
        "tokens": amount(record.last("train", "tokens") or 0) if "train" in record.lines else "",
        "tokens/s, median": f"{speeds[len(speeds) // 2]:,.0f}" if speeds else "",
        "MFU, median": f"{100 * utilisation[len(utilisation) // 2]:.1f} %" if utilisation else "",
        "time": duration(record.duration_s) if record.lines else "",
    }
    return {name: value for name, value in figures.items() if value != ""}


def _provenance(record: RunRecord) -> Html:
    boxes = [_details("Settings", tree(record.settings))]
    environment = {k: v for k, v in record.environment.items() if k != "versions"}
    environment |= {f"{k} version": v for k, v in record.environment.get("versions", {}).items()}
    if environment:
        boxes.append(_details("Environment", facts({k: _line(v) for k, v in environment.items()})))
    if record.provenance:
        boxes.append(_details("Provenance of the model", tree(record.provenance)))
    files = record.manifest.get("files", {})
    if files:
        rows = [(name, int(f["bytes"]), tag("code", f["sha256"])) for name, f in files.items()]
        boxes.append(_details("Files and checksums", table(("file", "bytes", "sha256"), rows)))
    if record.done:
        boxes.append(_details("Final figures", tree(record.done)))
    return join(tag("h3", "Provenance"), *boxes)


def _line(value: Any) -> str:
    return " ".join(map(str, cast(list[Any], value))) if isinstance(value, list) else str(value)


def _details(title: str, body: Html) -> Html:
    return tag("details", tag("summary", title), tag("div", body, class_="inner"))
