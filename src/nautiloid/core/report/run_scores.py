"""Benchmark results of runs: accuracies and sample conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nautiloid.core.report.html import Html, join, tag
from nautiloid.core.report.samples import sample, samples
from nautiloid.core.report.table import bar, table

Result = Mapping[str, Any]
MAX_SAMPLES = 4


def scores(results: Sequence[Result]) -> Html:
    """A table of accuracies, levels below their benchmark; empty without results."""
    rows: list[tuple[object, ...]] = []
    for result in results:
        thinking = {True: "on", False: "off"}.get(result.get("thinking", ""), "")
        title = str(result.get("benchmark", ""))
        rows.append((title, thinking, "all", result.get("count", ""), _accuracy(result)))
        for level, part in dict(result.get("levels", {})).items():
            rows.append(("", "", level, part.get("count", ""), _accuracy(part)))
    if not rows:
        return Html("")
    header = ("benchmark", "thinking", "level", "problems", "accuracy")
    return join(tag("h3", "Held-out accuracy"), table(header, rows))


def _accuracy(result: Mapping[str, Any]) -> Html:
    accuracy = float(result.get("accuracy", 0.0))
    error = result.get("stderr")
    text = f"{100 * accuracy:.1f} %"
    return bar(accuracy, f"{text} \u00b1 {100 * float(error):.1f}" if error is not None else text)


def chats(results: Sequence[Result]) -> Html:
    """Some conversations of each result; empty without any."""
    boxes: list[Html] = []
    for result in results:
        mode = {True: "thinking on", False: "thinking off"}.get(result.get("thinking", ""), "")
        for item in list(result.get("samples", []))[:MAX_SAMPLES]:
            note = ", ".join(
                str(t) for t in (result.get("benchmark", ""), item.get("level", ""), mode) if t
            )
            boxes.append(sample(note, item.get("messages", []), reward=item.get("reward")))
    if not boxes:
        return Html("")
    return join(tag("h3", "Sample chats"), samples(boxes))
