"""The funnel of a run: what entered each stage, what stayed, what went and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nautiloid.core.report.html import Html, html, tag
from nautiloid.core.report.table import amount

Stage = Mapping[str, Any]

WIDTH, LEFT, RIGHT, ROW, BAR = 1040, 165, 250, 30, 18


def funnel(stages: Sequence[Stage], unit: str) -> Html:
    """One bar a stage: what stayed, and what went, linked to its samples.

    Args:
        stages: Those of the manifest, in order.
        unit: `documents` or `chars`; characters exist from the extraction on.
    """
    rows = [s for s in stages if s[f"{unit}_in"] or s[f"{unit}_out"]]
    if unit == "chars":
        rows = [s for s in rows if s["kind"] != "read"]
    if not rows:
        return Html("")
    most = max(max(s[f"{unit}_in"], s[f"{unit}_out"]) for s in rows) or 1
    scale = (WIDTH - LEFT - RIGHT) / most
    parts: list[str] = []
    former = None
    for i, stage in enumerate(rows):
        top = i * ROW
        entered, left = max(stage[f"{unit}_in"], stage[f"{unit}_out"]), stage[f"{unit}_out"]
        if former is not None:
            parts.append(_slope(former * scale, entered * scale, top))
        name, gone = stage["name"], entered - left
        parts.append(
            f'<text x="{LEFT - 12}" y="{top + 14}" class="end">{html(name)}</text>'
            f'<rect x="{LEFT}" y="{top}" width="{left * scale:.1f}" height="{BAR}" rx="2" class="kept">'
            f"<title>{left:,} {unit} stay</title></rect>"
        )
        if gone > 0:
            width = max(gone * scale, 1.5)
            parts.append(
                f'<a href="#{anchor(name)}"><rect x="{LEFT + left * scale:.1f}" y="{top}" '
                f'width="{width:.1f}" height="{BAR}" rx="2" class="gone">'
                f"<title>{gone:,} {unit} go</title></rect></a>"
            )
        text = f"{left:,}" if left < 1e6 else amount(left)
        lost = f"-{gone:,}" if 0 < gone < 1e6 else f"-{amount(gone)}" if gone > 0 else ""
        parts.append(
            f'<text x="{WIDTH - 145}" y="{top + 14}" class="end">{text}</text>'
            f'<text x="{WIDTH - 70}" y="{top + 14}" class="end soft">{lost}</text>'
            f'<text x="{WIDTH}" y="{top + 14}" class="end soft">{_share(left, most)}</text>'
        )
        former = left
    words = "documents" if unit == "documents" else "characters"
    note = (
        "left after each stage, gone in it, share of the first; an orange part leads to its samples"
    )
    svg = f'<svg viewBox="0 0 {WIDTH} {len(rows) * ROW}" class="funnel" role="img">{"".join(parts)}</svg>'
    caption = tag("figcaption", words.capitalize(), tag("small", note))
    return tag("figure", caption, Html(svg), class_="wide")


def anchor(stage: str, reason: str = "") -> str:
    """Where the samples of a stage or of one of its reasons are.

    >>> anchor("length", "too short")
    'gone-length-too-short'
    """
    text = f"gone-{stage}-{reason}" if reason else f"gone-{stage}"
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in text)


def _slope(former: float, now: float, top: int) -> str:
    points = (
        f"{LEFT},{top - ROW + BAR} {LEFT + former:.1f},{top - ROW + BAR} "
        f"{LEFT + now:.1f},{top} {LEFT},{top}"
    )
    return f'<polygon points="{points}" class="from"></polygon>'


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %"
