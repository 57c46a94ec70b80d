"""Formulas of a page in three places: in the source, in what the extractor says, in the text."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nautiloid.curate.math.recover import Formula


@dataclass(frozen=True)
class Row:
    """One formula.

    Args:
        encoding: How the page carried it; `text` when only the text shows it.
        span: Its number in the rendered text; None when the text has lost it.
        mark: Its number in the source; None when it was not located.
    """

    tex: str
    is_display: bool
    encoding: str
    span: int | None
    mark: int | None


def align(
    spans: Sequence[tuple[str, bool]],
    said: Sequence[Mapping[str, Any]],
    found: Sequence[Formula],
    order: Sequence[int],
) -> list[Row]:
    """One row a formula: those of the text in its order, then those of the page that it lacks.

    Args:
        spans: TeX and mode of the formulas in the text.
        said: What the extractor reported (`tex`, `display`, `encoding`); may be empty.
        found: What was located in the source.
        order: Their numbers in the order of the source.

    >>> found = [Formula("y", False, "image_alt"), Formula("x", False, "image_alt")]
    >>> [row.mark for row in align([("x", False)], [], found, (0, 1))]
    [1, 0]
    """
    encodings: dict[str, deque[str]] = defaultdict(deque)
    for item in said:
        encodings[_key(item["tex"])].append(str(item["encoding"]))
    marks: dict[str, deque[int]] = defaultdict(deque)
    for number in order:
        marks[_key(found[number].tex)].append(number)
    rows: list[Row] = []
    used: set[int] = set()
    for span, (tex, is_display) in enumerate(spans):
        key = _key(tex)
        mark = marks[key].popleft() if marks[key] else None
        encoding = encodings[key].popleft() if encodings[key] else None
        if mark is not None:
            used.add(mark)
            encoding = encoding or found[mark].encoding
        rows.append(Row(tex, is_display, encoding or "text", span, mark))
    rest = [(n, found[n]) for n in order if n not in used]
    return rows + [Row(f.tex, f.is_display, f.encoding, None, n) for n, f in rest]


def _key(tex: str) -> str:
    return "".join(tex.split())
