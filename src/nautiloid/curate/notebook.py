"""Text of a Jupyter notebook: prose as it is, code fenced, what the code printed behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

OUTPUT_CHARS = 20_000
"""Longer outputs are cut: they are logs."""
_LANGUAGE = re.compile(r"[A-Za-z0-9_+#.-]{1,30}")
_TICKS = re.compile(r"`{3,}")
_TERMINAL = re.compile("\x1b\\[[0-9;?]{0,20}[A-Za-z]")


class NotebookError(ValueError):
    """The content is not a notebook; the message says why."""


def notebook_text(content: str) -> tuple[str, str | None]:
    """Markdown of a notebook and its title (the first heading), if it has one.

    Raises:
        NotebookError: Not JSON, or not a notebook of format 3 or 4.
    """
    try:
        data: Any = json.loads(content)
    except (json.JSONDecodeError, RecursionError) as error:
        raise NotebookError(f"not JSON: {error}") from None
    cells = _cells(data)
    language = _language(data)
    parts: list[str] = []
    for cell in cells:
        if isinstance(cell, Mapping):
            parts.extend(_cell(cast(Mapping[str, Any], cell), language))
    text = "\n\n".join(part for part in parts if part)
    # JSON may hold halves of surrogate pairs, which no file can
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "")
    heading = re.search(r"^#{1,6}[ \t]+(.{1,300})$", text, re.MULTILINE)
    return text, heading[1].strip() if heading else None


def _cells(data: Any) -> list[Any]:
    if not isinstance(data, Mapping):
        raise NotebookError("not an object")
    notebook = cast(Mapping[str, Any], data)
    if isinstance(notebook.get("cells"), list):
        return notebook["cells"]
    sheets = notebook.get("worksheets")  # format 3
    if isinstance(sheets, list):
        found: list[Any] = []
        for sheet in cast(list[Any], sheets):
            cells: Any = cast(Any, sheet).get("cells") if isinstance(sheet, Mapping) else None
            found.extend(cells if isinstance(cells, list) else ())
        return found
    raise NotebookError("no list of cells")


def _language(data: Any) -> str:
    metadata = data.get("metadata")
    for path in (("language_info", "name"), ("kernelspec", "language")):
        value: Any = metadata
        for key in path:
            value = cast(Any, value).get(key) if isinstance(value, Mapping) else None
        if isinstance(value, str) and _LANGUAGE.fullmatch(value):
            return value.lower()
    return "python"


def _cell(cell: Mapping[str, Any], language: str) -> list[str]:
    kind = cell.get("cell_type")
    source = _joined(cell.get("source", cell.get("input"))).strip("\n")
    if kind == "markdown":
        return [source.strip()]
    if kind == "heading":
        level = cell.get("level")
        marks = "#" * (min(max(level, 1), 6) if isinstance(level, int) else 1)
        return [f"{marks} {source.strip()}"]
    if kind != "code":
        return [source.strip()] if kind == "raw" else []
    parts = [_fenced(source, language)] if source.strip() else []
    outputs = cell.get("outputs")
    printed: list[str] = []
    for output in cast(list[Any], outputs) if isinstance(outputs, list) else []:
        if isinstance(output, Mapping):
            printed.append(_output(cast(Mapping[str, Any], output)))
    text = _TERMINAL.sub("", "".join(printed))[:OUTPUT_CHARS].strip("\n")
    return [*parts, _fenced(text, "")] if text.strip() else parts


def _output(output: Mapping[str, Any]) -> str:
    kind = output.get("output_type")
    if kind == "stream":
        return _joined(output.get("text")) if output.get("name", "stdout") == "stdout" else ""
    if kind in ("execute_result", "display_data", "pyout"):
        data = output.get("data")
        plain = cast(Any, data).get("text/plain") if isinstance(data, Mapping) else None
        text = _joined(plain if plain is not None else output.get("text"))
        # the printed form of a picture or of any object without one of its own says nothing
        return "" if text.startswith("<") and text.rstrip().endswith(">") else f"{text}\n"
    return ""


def _joined(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(part for part in cast(list[Any], value) if isinstance(part, str))
    return ""


def _fenced(text: str, language: str) -> str:
    longest = max((len(run) for run in _TICKS.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
