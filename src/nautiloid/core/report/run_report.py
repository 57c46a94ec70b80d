"""The report of one or several runs: curves, expert load, scores, samples, provenance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nautiloid.core.files import write_text
from nautiloid.core.report.html import Html, join, tag
from nautiloid.core.report.page import Section, page
from nautiloid.core.report.run_charts import charts
from nautiloid.core.report.run_provenance import provenance
from nautiloid.core.report.run_record import RunRecord, find_runs
from nautiloid.core.report.run_scores import chats, comparison, scores
from nautiloid.core.report.table import amount, duration, show, table, tiles

CURATION = "curate.recipe"
KINDS = {
    "train.pretrain": "pretraining",
    "train.sft": "supervised tuning",
    "train.distill": "distillation",
    "eval.recipe": "evaluation",
    CURATION: "curation",
}


def write_report(folders: Sequence[Path], out: Path, *, title: str | None = None) -> None:
    """Write one self-contained HTML file about the given runs and those directly below them.

    Raises:
        InputError: A folder holds no run, or matplotlib is not installed.
    """
    records = find_runs(folders)
    title = title or (records[0].name if len(records) == 1 else folders[0].resolve().name)
    sections = _one(records[0]) if len(records) == 1 else _many(records)
    environment = max((r.environment for r in records), key=len)
    machine = (
        environment.get("processor"),
        f"{environment['cores']} cores" if "cores" in environment else "",
        environment.get("platform"),
    )
    lead = " \u00b7 ".join(str(part) for part in machine if part)
    version = environment.get("versions", {}).get("nautiloid", "")
    write_text(out, page(title, lead, sections, footer=f"Written by nautiloid {version}"))


def _one(record: RunRecord) -> list[Section]:
    results = [(record.name, result) for result in record.results]
    body = join(
        tiles(_key_figures(record)),
        scores(results),
        charts(record),
        chats(results, record.answers),
        tag("h3", "Provenance"),
        provenance(record),
    )
    return [Section("run", record.name, _lead(record), body)]


def _many(records: Sequence[RunRecord]) -> list[Section]:
    """An overview, what the last model can do, the curves of each training, then all provenance."""
    trainings = [record for record in records if "train" in record.lines]
    results = [(record.name, result) for record in records for result in record.results]
    answers = [answer for record in records for answer in record.answers]
    sections = [Section("overview", "Overview", "", _table(trainings))] if trainings else []
    curations = [record for record in records if record.kind == CURATION and record.done]
    if curations:
        lead = "from pages to text; each has a report of its own"
        sections.append(Section("data", "Data", lead, _curations(curations)))
    if results or answers:
        last = [(run, result) for run, result in results if run == results[-1][0]]
        body = join(comparison(results), scores(last), chats(last, answers))
        sections.append(Section("scores", "What it can do", "on problems it never saw", body))
    for i, record in enumerate(trainings):
        body = join(tiles(_key_figures(record)), charts(record))
        sections.append(Section(f"run-{i}", record.name, _lead(record), body))
    boxes = [part for r in records for part in (tag("h3", r.name), provenance(r))]
    sections.append(Section("provenance", "Provenance", "of every run", join(*boxes)))
    return sections


def _lead(record: RunRecord) -> str:
    state = "finished" if record.done is not None else "not finished"
    return f"{KINDS.get(record.kind, record.kind)}, {state}, {record.path.name}"


def _table(records: Sequence[RunRecord]) -> Html:
    rows = [
        (
            record.name,
            KINDS.get(record.kind, record.kind),
            duration(record.duration_s),
            show(record.last("train", "step")),
            amount(record.last("train", "tokens") or 0),
            _figure(record.last("train", "loss")),
            _figure(record.last("eval", "loss")),
            "finished" if record.done is not None else "not finished",
        )
        for record in records
    ]
    header = ("run", "what", "time", "steps", "tokens", "training loss", "held-out loss", "state")
    return table(header, rows)


def _curations(records: Sequence[RunRecord]) -> Html:
    """Figures of each curation; the links hold while the report stays above the runs."""
    rows = [
        (
            tag("a", record.name, href=f"{record.path.name}/report.html"),
            done.get("pages", ""),
            done.get("documents", ""),
            f"{amount(done.get('text_bytes', 0))} bytes",
            duration(done.get("wall_s", 0.0)),
        )
        for record in records
        if (done := record.done) is not None
    ]
    return table(("run", "pages", "documents", "text", "time"), rows)


def _figure(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else str(value or "")


def _key_figures(record: RunRecord) -> dict[str, object]:
    speeds = sorted(v for v in record.series("train", "tokens_per_s")[1] if v is not None)
    utilisation = sorted(v for v in record.series("train", "mfu")[1] if v is not None)
    figures: dict[str, object] = {
        "training loss": _figure(record.last("train", "loss")),
        "held-out loss": _figure(record.last("eval", "loss")),
        "unigram entropy": _figure(record.last("baseline", "unigram_entropy")),
        "held-out bits per byte": _figure(record.last("eval", "bits_per_byte")),
        "tokens": amount(record.last("train", "tokens") or 0) if "train" in record.lines else "",
        "tokens/s, median": f"{speeds[len(speeds) // 2]:,.0f}" if speeds else "",
        "MFU, median": f"{100 * utilisation[len(utilisation) // 2]:.1f} %" if utilisation else "",
        "time": duration(record.duration_s) if record.lines else "",
    }
    return {name: value for name, value in figures.items() if value != ""}
