"""Tables of a KaTeX layout: columns of boxes, put together to rows by their heights."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import pairwise

from selectolax.lexbor import LexborNode

from nautiloid.curate.math.katex.boxes import Box, boxes
from nautiloid.curate.math.katex.spans import Span, children, class_names
from nautiloid.curate.math.tree import MAX_NODES, Element

# Boxes less apart than this, in em, are in one row.
_SAME = 0.02


def array(span: Span) -> list[Element]:
    """A table without lines between its rows."""
    return [table(span, span.node, [])]


def table(span: Span, node: LexborNode, rules: list[float]) -> Element:
    """The table `node` in a span.

    Args:
        span: What holds the table, or the table itself.
        node: The table.
        rules: Heights of the horizontal lines, in em.
    """
    columns: list[list[Box]] = []
    align: list[str] = []
    bars: list[str] = []
    gaps = 0
    first_gap = 0
    for child in children(node):
        names = class_names(child) if child.tag != "-text" else ()
        kind = next((name for name in names if name.startswith("col-align-")), "")
        if kind:
            columns.append(boxes(child))
            align.append({"l": "left", "r": "right"}.get(kind[10:], "center"))
            if len(columns) == 2:
                first_gap = gaps
            bars.append("none")
            gaps = 0
        elif "arraycolsep" in names:
            gaps += 1
        elif "vertical-separator" in names and bars:
            bars[-1] = "solid"
    heights: list[float] = []
    for height in sorted((box.height for column in columns for box in column), reverse=True):
        if not heights or heights[-1] - height > _SAME:
            heights.append(height)
    if len(heights) * len(columns) > MAX_NODES:
        # More cells than a formula has elements: columns that share no row, or a sheet of data.
        return Element("mtext", {}, text=node.text(deep=True))
    rows = [
        Element("mtr", {}, [_cell(span, column, height) for column in columns])
        for height in heights
    ]
    rules = sorted(rules)
    lines = [
        "solid" if bisect_left(rules, high) > bisect_right(rules, low) else "none"
        for high, low in pairwise(heights)
    ]
    attributes: dict[str, str | None] = {
        "columnalign": " ".join(align),
        "columnspacing": "1em" if first_gap else "0em",
        "columnlines": " ".join(bars),
        "rowlines": " ".join(lines),
    }
    return Element("mtable", attributes, rows)


def _cell(span: Span, column: list[Box], height: float) -> Element:
    """The cell of a column, lowest box first, in the row of a height."""
    index = bisect_left(column, height - _SAME, key=lambda box: box.height)
    if index < len(column) and column[index].height <= height + _SAME:
        return Element("mtd", {}, span.content(column[index].node, span.depth))
    return Element("mtd", {})
