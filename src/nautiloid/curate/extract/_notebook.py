"""Jupyter notebooks: text cells as they are, code cells and printed results as listings."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, cast

from nautiloid.curate.extract import _code as code
from nautiloid.curate.page import Page

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_TITLE = re.compile(r"^#\s+(.+)$", re.MULTILINE)
_FIGURE = re.compile(
    r"<(?:Figure|matplotlib|AxesSubplot|IPython|Axes)[^\n]{0,300}>|\[<[^\n]{0,300}>\]"
)
# Printed results longer than this are logs.
OUTPUT_CHARS = 4_000


@dataclass(frozen=True, slots=True)
class Notebook:
    """A notebook as Markdown."""

    text: str
    title: str | None


def is_notebook(page: Page, text: str) -> bool:
    """By name, type or the keys that every notebook has."""
    if page.mime == "application/x-ipynb+json" or (page.url or "").partition("?")[0].endswith(
        ".ipynb"
    ):
        return True
    return text.lstrip().startswith("{") and '"nbformat"' in text and '"cells"' in text


def markdown(text: str) -> Notebook | None:
    """The cells in order; None when it is no notebook after all."""
    try:
        book: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    cells = _get(book, "cells")
    if not isinstance(cells, list):
        # Format 3 keeps its cells in worksheets.
        sheets = _get(book, "worksheets")
        cells = (
            [c for s in sheets for c in _get(s, "cells") or ()]
            if isinstance(sheets, list)
            else None
        )
    if cells is None:
        return None
    meta = _get(book, "metadata")
    language = _get(_get(meta, "kernelspec"), "language") or _get(
        _get(meta, "language_info"), "name"
    )
    language = language if isinstance(language, str) and len(language) < 24 else ""
    parts: list[str] = []
    for cell in cast("list[Any]", cells):
        kind = _get(cell, "cell_type")
        source = _joined(_get(cell, "source") or _get(cell, "input"))
        if kind == "code":
            if source.strip():
                parts.append(code.fenced(code.tidied(source), language))
            for output in _get(cell, "outputs") or ():
                if printed := code.tidied(_printed(output)):
                    parts.append(code.fenced(printed[:OUTPUT_CHARS], ""))
        elif kind == "heading":
            level = _get(cell, "level")
            parts.append(
                "#" * (level if isinstance(level, int) and 0 < level < 7 else 1)
                + " "
                + source.strip()
            )
        elif source.strip():
            parts.append(source.strip("\n"))
    # JSON may hold halves of surrogate pairs, which no encoding can write.
    made = "\n\n".join(parts).encode("utf-8", "replace").decode("utf-8")
    title = _TITLE.search(made)
    return Notebook(made, title.group(1).strip() if title else None)


def _get(thing: Any, key: str) -> Any:
    return cast("dict[str, Any]", thing).get(key) if isinstance(thing, dict) else None


def _joined(source: Any) -> str:
    if isinstance(source, list):
        return "".join(line for line in cast("list[Any]", source) if isinstance(line, str))
    return source if isinstance(source, str) else ""


def _printed(output: Any) -> str:
    """What a cell printed or gave; warnings and the names of figures are no results."""
    if _get(output, "name") == "stderr" or _get(output, "stream") == "stderr":
        return ""
    text = _get(output, "text") or _get(_get(output, "data"), "text/plain")
    printed = _ESCAPES.sub("", _joined(text))
    return "" if _FIGURE.fullmatch(printed.strip()) else printed
