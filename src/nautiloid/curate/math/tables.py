r"""Tables of a formula: matrices, alignments, arrays with lines."""

from __future__ import annotations

from nautiloid.curate.math.pieces import Piece
from nautiloid.curate.math.rows import environment, row
from nautiloid.curate.math.spaces import ems
from nautiloid.curate.math.tree import Element

_LETTERS = {"left": "l", "center": "c", "right": "r"}
# Columns beyond this are a data table: one letter says enough.
_MAX_COLUMNS = 60


def cell(element: Element, pieces: list[Piece]) -> Piece:
    """`mtd`."""
    made = row(pieces)
    return Piece(made.tex.strip(), kind="cell", align=_LETTERS.get(element.get("columnalign"), ""))


def line(element: Element, pieces: list[Piece]) -> Piece:
    """`mtr` and `mlabeledtr`: cells joined, the label apart."""
    label = ""
    if element.tag == "mlabeledtr" and pieces:
        label = pieces[0].tex
        pieces = pieces[1:]
    cells = tuple(piece.tex for piece in pieces)
    align = "".join(piece.align or "-" for piece in pieces)
    return Piece("", kind="line", raw=label, parts=cells, align=align)


def table(element: Element, pieces: list[Piece]) -> Piece:
    """`mtable`: its environment; rows without it in `parts`, for brackets that make it a matrix."""
    lines = [
        piece if piece.kind == "line" else Piece("", "line", parts=(piece.tex,), align="-")
        for piece in pieces
    ]
    while lines and not any(lines[-1].parts):
        lines.pop()
    width = max((len(one.parts) for one in lines), default=0)
    if not width:
        return Piece("", kind="empty")
    align = _align(element, lines, width)
    labels = any(one.raw for one in lines)
    rules = _rules(element.get("rowlines"), len(lines) - 1)
    framed = element.get("frame") in ("solid", "dashed")
    rows: list[str] = []
    for index, one in enumerate(lines):
        text = " & ".join(one.parts).strip() if any(one.parts) else " & ".join(one.parts)
        if labels and one.raw:
            label = one.raw.strip()
            if label.startswith("(") and label.endswith(")"):
                label = label[1:-1]
            if label.startswith("\\text{") and label.endswith("}"):
                label = label[6:-1].strip().removeprefix("(").removesuffix(")")
            text += f" \\tag{{{label}}}"
        if index < len(lines) - 1:
            text += " \\\\"
            if rules[index]:
                text += " \\hline"
        rows.append(text)
    body = " ".join(rows)
    bars = _rules(element.get("columnlines"), width - 1)
    name = _name(element, align, width)
    if any(bars) or any(rules) or framed or name == "array":
        columns = "".join(
            letter + ("|" if index < len(bars) and bars[index] else "")
            for index, letter in enumerate(align)
        )
        if framed:
            columns = f"|{columns}|"
            body = f"\\hline {body} \\\\ \\hline"
        return Piece(
            environment("array", body, columns),
            kind="table",
            parts=(body,),
            align=columns,
            is_tall=True,
        )
    if labels:
        name = "align" if name == "aligned" else "gather"
    return Piece(environment(name, body), kind="table", parts=(body,), align=align, is_tall=True)


def _align(element: Element, lines: list[Piece], width: int) -> str:
    """One of l, c, r a column: of the table, or of the cells where the table says nothing."""
    width = min(width, _MAX_COLUMNS)
    given = [_LETTERS.get(word, "c") for word in element.get("columnalign").split()]
    if given:
        return "".join((given + [given[-1]] * width)[:width])
    letters: list[str] = []
    for column in range(width):
        found = {
            one.align[column] for one in lines if column < len(one.align) and one.parts[column]
        }
        letters.append(found.pop() if len(found) == 1 and "-" not in found else "c")
    return "".join(letters)


def _rules(value: str, count: int) -> list[bool]:
    words = [word in ("solid", "dashed") for word in value.split()]
    if not words:
        return [False] * max(count, 0)
    return (words + [words[-1]] * max(count, 0))[: max(count, 0)]


def _name(element: Element, align: str, width: int) -> str:
    """Environment that sets such columns."""
    spacing = element.get("columnspacing").split()
    is_tight = bool(spacing) and ems(spacing[0]) < 0.05
    is_display = element.get("displaystyle") == "true"
    alternates = all(letter == "rl"[index % 2] for index, letter in enumerate(align))
    if align == "r" or (alternates and (is_tight or is_display)) or "align" in element.get("class"):
        return "aligned"
    if width == 1 and is_display:
        return "gathered"
    return "matrix" if set(align) <= {"c"} else "array"
