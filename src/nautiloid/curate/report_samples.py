"""Documents that went beside documents that stayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nautiloid.core.report.html import Html, html, join, tag
from nautiloid.curate.report_funnel import anchor

Record = Mapping[str, Any]
MAX_CHARS = 2500


def sample_pairs(
    stages: Sequence[Mapping[str, Any]], dropped: Sequence[Record], kept: Sequence[Record]
) -> Html:
    """For each stage and reason: on the left what went, on the right what stayed.

    The right side of a duplicate is the document that stayed in its place, that of anything else a
    kept document of the run.
    """
    by_reason: dict[tuple[str, str], list[Record]] = {}
    for record in dropped:
        by_reason.setdefault((record["stage"], record["reason"]), []).append(record)
    parts: list[Html] = []
    for stage in stages:
        for number, (reason, count) in enumerate(sorted(stage["dropped"].items())):
            records = by_reason.get((stage["name"], reason), [])
            first = tag("span", "", id=anchor(stage["name"])) if number == 0 else ""
            pairs = [_pair(r, kept[i % len(kept)] if kept else None) for i, r in enumerate(records)]
            title = f"{stage['name']}: {reason} "
            note = tag("small", f"{count:,} gone, {len(records)} shown")
            back = tag("a", "to the reasons", href="#reasons", class_="back")
            head = tag("h3", title, note, back, id=anchor(stage["name"], reason))
            body = join(*pairs) if pairs else tag("p", "The text of these is not kept.")
            parts += [html(first), head, body]
    return join(*parts)


def documents(records: Sequence[Record]) -> Html:
    """Documents two and two."""
    boxes = [_document(record, is_gone=False) for record in records]
    return tag("div", *boxes, class_="pair") if boxes else tag("p", "none")


def _pair(dropped: Record, kept: Record | None) -> Html:
    keeper = dropped.get("keeper")
    if keeper:
        similarity = keeper.get("similarity")
        note = "stayed in its place" + (f", similarity {similarity:.3f}" if similarity else "")
        right = _document({**keeper, "detail": note}, is_gone=False)
    else:
        right = _document(kept, is_gone=False) if kept else Html("")
    return tag("div", _document(dropped, is_gone=True), right, class_="pair")


def _document(record: Record, *, is_gone: bool) -> Html:
    text = str(record.get("text") or "")
    cut = text if len(text) <= MAX_CHARS else text[:MAX_CHARS] + " [...]"
    name = record.get("title") or record.get("url") or record["id"]
    where = " \u00b7 ".join(str(v) for v in dict.fromkeys((record.get("url"), record["id"])) if v)
    return tag(
        "div",
        tag("h4", name),
        tag("p", tag("b", record.get("detail") or ""), " ", where),
        tag("pre", cut or "no text"),
        class_="document gone" if is_gone else "document",
    )
