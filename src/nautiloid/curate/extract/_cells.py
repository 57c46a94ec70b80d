"""Tables while they are read.

Each function reads the tag at `at` and returns the index to go on with.
"""

from __future__ import annotations

from nautiloid.curate.extract._block import Block, Kind
from nautiloid.curate.extract._listing import listing
from nautiloid.curate.extract._table import Cell, Table
from nautiloid.curate.extract._writer import Writer


def open_table(page: Writer, at: int) -> int:
    if page.element is not None and page.element.is_listing:
        return listing(page, at)
    page.push(at)
    page.tables.append(Table(page.element, len(page.blocks), len(page.spans)))
    return at + 1


def close_table(page: Writer, at: int) -> int:
    page.flush()
    if page.tables:
        table = page.tables.pop()
        if len(page.blocks) > table.start:
            _write(page, table)
    return page.close(at)


def open_row(page: Writer, at: int) -> int:
    page.flush()
    if page.tables:
        page.tables[-1].rows.append([])
    return at + 1


def open_cell(page: Writer, at: int) -> int:
    page.push(at)
    if not page.tables:
        return at + 1
    table = page.tables[-1]
    if not table.rows:
        table.rows.append([])
    here = len(page.blocks) - table.start
    cell = table.cell = Cell(here, here)
    if page.element is not None:
        attributes = page.element.attributes
        cell.columns = _number(attributes.get("colspan"))
        cell.rows = _number(attributes.get("rowspan"))
        cell.is_bar = "hbar" in page.element.classes
    table.rows[-1].append(cell)
    return at + 1


def close_cell(page: Writer, at: int) -> int:
    page.close(at)
    if page.tables and page.tables[-1].cell is not None:
        table = page.tables[-1]
        table.rows[-1][-1].stop = len(page.blocks) - table.start
    return at + 1


def _write(page: Writer, table: Table) -> None:
    blocks = page.blocks[table.start :]
    layout = table.layout(blocks)
    if layout != "flow":
        _replace(page, table, blocks, layout == "data")
    if page.tables and not (layout == "rows" and len(page.blocks) == table.start + 1):
        page.tables[-1].has_table = True


def _replace(page: Writer, table: Table, blocks: list[Block], is_data: bool) -> None:
    """The blocks of a table by what is written in their place."""
    made = table.lines(blocks)
    if is_data:
        made = [(table.markdown(blocks), int(Kind.TABLE))]
        if caption := table.caption(blocks):
            made.insert(0, (caption, int(Kind.TEXT)))
    links, chars = sum(b.link_chars for b in blocks), sum(b.chars for b in blocks)
    first = blocks[0]
    page.blocks[table.start :] = [
        Block(text, kind, page.indent, page.indent, chars // len(made), links // len(made))
        for text, kind in made
    ]
    page.blocks[table.start].lead = first.lead if first.is_item else page.indent
    page.blocks[table.start].is_item = first.is_item
    del page.spans[table.first_span :]


def _number(text: str | None) -> int:
    """A span of columns or rows, 1 where it is nonsense."""
    return min(int(text), 200) if text and text.isdecimal() and len(text) < 5 and text != "0" else 1
