"""Tables: data as Markdown pipes, rows of a layout as lines, other layouts as flow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from nautiloid.curate.extract._block import Block, Kind
from nautiloid.curate.extract._element import Element
from nautiloid.curate.extract._words import BLANK_ROLES, names

# A cell longer than this is prose, and its table a layout.
CELL_CHARS = 1_500
MAX_COLUMNS = 200

# Tables that set one thing per row side by side: prototypes, numbered equations, footnotes.
_ROW_CLASSES = names(
    """
    memname mlabels memberdecls ltx_equation ltx_equationgroup ltx_eqn_table ltx_eqn_align
    ltx_eqn_eqnarray equation equation-array func footnote citation docutils-footnote field-list
    """
)
# Their rows are one line together: a prototype with a parameter a row, a fraction.
_LINE_CLASSES = frozenset(("memname", "display"))
_LAYOUT_CLASSES = names("layout layout-table highlighttable rouge-table lntable")


@dataclass(slots=True)
class Cell:
    """Blocks `[start, stop)` of the page, counted from the first one of the table.

    Args:
        columns: That it covers.
        rows: That it covers.
        is_bar: Whether it is the line of a fraction.
    """

    start: int
    stop: int
    columns: int = 1
    rows: int = 1
    is_bar: bool = False


@dataclass(slots=True)
class Table:
    """A table that is being read.

    Args:
        element: Its start tag.
        start: Index of its first block.
        first_span: Index of the first span recorded inside it.
    """

    element: Element | None
    start: int
    first_span: int
    rows: list[list[Cell]] = field(default_factory=list[list[Cell]])
    has_table: bool = False
    cell: Cell | None = None

    def layout(self, blocks: list[Block]) -> Literal["data", "rows", "flow"]:
        """How it is written, from its shape.

        Args:
            blocks: Those of the table.
        """
        classes = self.element.classes if self.element else frozenset[str]()
        role = self.element.attributes.get("role", "") if self.element else ""
        if not _LAYOUT_CLASSES.isdisjoint(classes):
            return "flow"
        simple = all(block.kind in (Kind.TEXT, Kind.TERM) for block in blocks)
        if simple and not _ROW_CLASSES.isdisjoint(classes) and not self.has_table:
            return "rows"
        if not self.has_table and "memberdecls" in classes:
            return "rows"
        if self.has_table or role in BLANK_ROLES or not self.rows:
            return "flow"
        filled = [[cell for cell in row if cell.stop > cell.start] for row in self.rows]
        filled = [row for row in filled if row]
        columns = max((len(row) for row in filled), default=0)
        if columns < 2:
            return "flow"
        if any(block.kind == Kind.CODE or block.kind > Kind.HEADING + 3 for block in blocks):
            return "flow"
        if any(Kind.HEADING < block.kind <= Kind.HEADING + 3 for block in blocks):
            return "flow"
        sizes = [
            sum(block.chars for block in blocks[cell.start : cell.stop])
            for row in filled
            for cell in row
        ]
        if max(sizes) > CELL_CHARS or sum(sizes) / len(sizes) > CELL_CHARS / 4:
            return "flow"
        if any(cell.stop - cell.start > 12 for row in filled for cell in row):
            return "flow"
        if len(filled) == 1:
            is_line = all(cell.stop - cell.start == 1 for cell in filled[0]) and sum(sizes) < 400
            return "rows" if is_line else "flow"
        return "data"

    def lines(self, blocks: list[Block]) -> list[tuple[str, int]]:
        """Text and kind of what comes of the rows: a line each, headings by themselves."""
        rows: list[str] = []
        found: list[tuple[str, int]] = []
        for row in self.rows:
            inside = [block for cell in row for block in blocks[cell.start : cell.stop]]
            if len(inside) == 1 and inside[0].kind > Kind.HEADING:
                if rows:
                    found.append(("\n".join(rows), Kind.TEXT))
                    rows = []
                found.append((inside[0].text, inside[0].kind))
            elif inside:
                rows.append(" ".join(" ".join(block.text.split()) for block in inside))
            elif rows and any(cell.is_bar for cell in row):
                # HeVeA draws fractions: numerator, a row with a line below it, denominator.
                rows[-1] = f"({rows[-1]})/"
        if self.element is not None and not _LINE_CLASSES.isdisjoint(self.element.classes):
            joined = " ".join(rows)
            for index, row in enumerate(rows[:-1]):
                if row.endswith(")/"):
                    joined = joined.replace(
                        f"{row} {rows[index + 1]}", f"{row}({rows[index + 1]})", 1
                    )
            rows = [joined] if rows else []
        if rows:
            found.append(("\n".join(rows), Kind.TEXT))
        return found

    def caption(self, blocks: list[Block]) -> str:
        """What stands in the table and in none of its cells."""
        first = min(cell.start for row in self.rows for cell in row)
        last = max(cell.stop for row in self.rows for cell in row)
        return " ".join(block.text for block in (*blocks[:first], *blocks[last:]))

    def markdown(self, blocks: list[Block]) -> str:
        """Pipes; the first row is the header. A cell over several rows stands in the first of them."""
        grid: list[list[str]] = []
        # Columns that a cell of an earlier row reaches into, and for how many rows still.
        taken: dict[int, int] = {}
        for row in self.rows:
            line: list[str] = []

            def fill(line: list[str] = line) -> None:
                while (left := taken.get(len(line), 0)) > 0:
                    taken[len(line)] = left - 1
                    line.append("")

            for cell in row:
                fill()
                for column in range(min(cell.columns, MAX_COLUMNS - len(line))):
                    if cell.rows > 1:
                        taken[len(line)] = cell.rows - 1
                    line.append(_cell_text(blocks[cell.start : cell.stop]) if not column else "")
            fill()
            if any(line):
                grid.append(line)
        width = max(map(len, grid))
        used = [
            column
            for column in range(width)
            if any(column < len(row) and row[column] for row in grid)
        ]
        rows = ["| " + " | ".join(_at(row, column) for column in used) + " |" for row in grid]
        return "\n".join([rows[0], "|" + " --- |" * len(used), *rows[1:]])


def _at(row: list[str], column: int) -> str:
    return row[column] if column < len(row) else ""


def _cell_text(blocks: list[Block]) -> str:
    parts = [(block.lead.strip() + " " if block.is_item else "") + block.text for block in blocks]
    return " ".join(" ".join(parts).split()).replace("|", "\\|")
