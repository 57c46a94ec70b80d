"""The report of a curation: funnel, reasons, speed, subsets, duplicates, samples; one HTML file.

Reads what the run folder says of itself (`curate/recipe.py` lists it), so it can be made again at any
time: `nautiloid report RUN`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from nautiloid.core.errors import InputError
from nautiloid.core.files import MANIFEST, read_json, write_text
from nautiloid.core.report.html import Html, join, tag
from nautiloid.core.report.page import Section, page
from nautiloid.core.report.table import amount, bar, duration, facts, table, tiles, tree
from nautiloid.curate.report_funnel import anchor, funnel
from nautiloid.curate.report_samples import documents, sample_pairs

MAX_NAMES = 15


def write_report(folder: Path, out: Path | None = None, *, title: str | None = None) -> None:
    """Write `report.html` about the run in a folder.

    Raises:
        InputError: The run is not finished, or it is no curation.
    """
    if not (folder / MANIFEST).is_file() or not (folder / "timing.json").is_file():
        raise InputError(str(folder), None, "no finished curation; run it to its end first")
    manifest, timing = read_json(folder / MANIFEST), read_json(folder / "timing.json")
    kept = _lines(folder / "samples" / "kept.jsonl")
    dropped = _lines(folder / "samples" / "dropped.jsonl")
    stages = manifest["stages"]
    sections = [
        Section("funnel", "Funnel", "what stayed through the stages", _funnels(manifest, timing)),
        Section(
            "reasons", "Reasons", "why documents went; each leads to samples", _reasons(stages)
        ),
        Section("yield", "Yield", "what is in the shards", _yield(manifest)),
        Section(
            "duplicates",
            "Duplicates",
            "groups of documents of which one stayed",
            _groups(folder, stages),
        ),
        Section("speed", "Speed", _speed_lead(timing), _speed(stages, timing)),
        Section("kept", "Kept", "some documents of the shards", documents(kept)),
        Section(
            "gone",
            "Gone",
            "on the left what went, on the right what stayed",
            sample_pairs(stages, dropped, kept),
        ),
        Section(
            "provenance",
            "Provenance",
            "settings, versions, files and checksums",
            _provenance(manifest),
        ),
    ]
    style = files("nautiloid.curate").joinpath("report.css").read_text(encoding="utf-8")
    lead = (
        f"{manifest['input']['units']:,} units, {amount(manifest['input']['bytes'])} bytes of input"
    )
    version = manifest["versions"].get("nautiloid", "")
    text = page(
        title or manifest["name"],
        lead,
        [section for section in sections if section.body],
        footer=f"Written by nautiloid {version}",
        style=style,
    )
    write_text(out or folder / "report.html", text)


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def _funnels(manifest: Mapping[str, Any], timing: Mapping[str, Any]) -> Html:
    whole = manifest["subsets"]["all"]
    pages = manifest["input"]["pages"]
    wall = sum(timing["wall_s"].values())
    figures = {
        "pages": f"{pages:,}",
        "documents kept": f"{whole['documents']:,}",
        "of the pages": f"{100 * whole['documents'] / pages:.1f} %" if pages else "",
        "characters kept": amount(whole["chars"]),
        "tokens": amount(whole["tokens"]) if whole["tokens"] is not None else "",
        "time": duration(wall),
        "pages/s": f"{pages / wall:,.0f}" if wall else "",
    }
    stages = manifest["stages"]
    faults = [
        (reason, entry["count"], entry["lost"]) for reason, entry in manifest["faults"].items()
    ]
    damage = (
        join(tag("h3", "Damage in the input"), table(("fault", "places", "records lost"), faults))
        if faults
        else ""
    )
    charts = tag("div", funnel(stages, "documents"), funnel(stages, "chars"), class_="charts")
    return join(tiles({k: v for k, v in figures.items() if v}), charts, damage)


def _reasons(stages: Sequence[Mapping[str, Any]]) -> Html:
    rows = [
        (
            stage["name"],
            tag("a", reason, href=f"#{anchor(stage['name'], reason)}"),
            count,
            _bar(count, stage["documents_in"]),
        )
        for stage in stages
        for reason, count in sorted(stage["dropped"].items(), key=lambda item: -item[1])
    ]
    changed = [
        (s["name"], s["changed"], _bar(s["changed"], s["documents_in"]))
        for s in stages
        if s.get("changed")
    ]
    parts = [table(("stage", "reason", "documents", "of those that entered"), rows)] if rows else []
    if changed:
        edits = table(("stage", "documents", "of those that entered"), changed)
        parts += [tag("h3", "Documents changed"), edits]
    return join(*parts)


def _yield(manifest: Mapping[str, Any]) -> Html:
    whole = manifest["subsets"]["all"]["documents"]
    has_tokens = manifest["subsets"]["all"]["tokens"] is not None
    rows = [
        (
            name,
            tag("a", f"{entry['documents']:,}", href="#kept"),
            _bar(entry["documents"], whole),
            entry["chars"],
            *((entry["tokens"],) if has_tokens else ()),
        )
        for name, entry in manifest["subsets"].items()
    ]
    header = ("subset", "documents", "share", "characters", *(("tokens",) if has_tokens else ()))
    parts = [table(header, rows)]
    for name, title in (("languages", "Languages"), ("licences", "Licences")):
        parts += [tag("h3", title), _counts(manifest[name], whole)]
    return join(*parts)


def _counts(counts: Mapping[str, int], whole: int) -> Html:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in ordered[MAX_NAMES:])
    shown = [*ordered[:MAX_NAMES], *([("others", rest)] if rest else [])]
    rows = [(name, count, _bar(count, whole)) for name, count in shown]
    return table(("", "documents", "share"), rows)


def _groups(folder: Path, stages: Sequence[Mapping[str, Any]]) -> Html:
    """How large the groups of duplicates were, for each deduplication."""
    names = [stage["name"] for stage in stages if stage["kind"] == "dedup"]
    parts: list[Html] = []
    for index, name in enumerate(names):
        path = folder / "dedup" / str(index) / "drops.parquet"
        if not path.is_file():
            continue
        found = pq.read_table(path, columns=["keeper_unit", "keeper_row"])
        pairs = zip(found["keeper_unit"].to_pylist(), found["keeper_row"].to_pylist(), strict=True)
        sizes = Counter(Counter(pair for pair in pairs if None not in pair).values())
        rows = [
            (gone + 1, groups, gone * groups, _bar(gone * groups, found.num_rows))
            for gone, groups in sorted(sizes.items())
        ]
        if rows:
            header = ("documents in a group", "groups", "documents gone", "share of those gone")
            link = tag("a", "samples", href=f"#{anchor(name)}", class_="back")
            parts += [tag("h3", name, link), table(header, rows)]
    return join(*parts)


def _speed_lead(timing: Mapping[str, Any]) -> str:
    phases = ", ".join(f"{name} {duration(s)}" for name, s in timing["wall_s"].items())
    return f"{timing['workers']} workers ({timing['executor']}); on the clock: {phases}"


def _speed(stages: Sequence[Mapping[str, Any]], timing: Mapping[str, Any]) -> Html:
    seconds = timing["seconds"]
    whole = sum(seconds.values())
    rows = [
        (
            stage["name"],
            round(spent, 2),
            _bar(spent, whole),
            stage["documents_in"],
            f"{stage['documents_in'] / spent:,.0f}" if spent else "",
            f"{1000 * spent / stage['documents_in']:.3g}" if stage["documents_in"] else "",
        )
        for stage in stages
        if (spent := seconds.get(stage["name"])) is not None
    ]
    header = (
        "stage",
        "seconds of all workers",
        "share",
        "documents",
        "a second and worker",
        "ms each",
    )
    return table(header, rows)


def _provenance(manifest: Mapping[str, Any]) -> Html:
    rows = [
        (name, entry["bytes"], entry["documents"], tag("code", entry["sha256"]))
        for name, entry in manifest["files"].items()
    ]
    boxes = (
        ("Settings", tree(manifest["recipe"])),
        ("Versions", facts(manifest["versions"])),
        ("Input", facts(manifest["input"])),
        ("Files and checksums", table(("file", "bytes", "documents", "sha256"), rows)),
    )
    return join(
        *(tag("details", tag("summary", n), tag("div", body, class_="inner")) for n, body in boxes)
    )


def _bar(part: float, whole: float) -> Html:
    share = part / whole if whole else 0.0
    return bar(share, f"{100 * share:.1f} %")
