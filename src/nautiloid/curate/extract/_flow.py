"""Elements that make blocks: paragraphs, headings, containers, lists, quotations, definitions.

Each function reads the tag at `at` and returns the index to go on with.
"""

from __future__ import annotations

from nautiloid.curate.extract import _inline as inline
from nautiloid.curate.extract._block import Kind, Span
from nautiloid.curate.extract._element import Role
from nautiloid.curate.extract._listing import listing
from nautiloid.curate.extract._words import TITLES
from nautiloid.curate.extract._writer import Writer

_MAX_INDENT = 60


def end_line(page: Writer, at: int) -> int:
    page.flush()
    return at + 1


def leave_out(page: Writer, at: int) -> int:
    return page.tokens.end(at) + 1


def open_paragraph(page: Writer, at: int) -> int:
    page.flush()
    page.paragraph = len(page.blocks) if page.role is Role.WEAK else None
    return at + 1


def close_paragraph(page: Writer, at: int) -> int:
    page.flush()
    if page.paragraph is not None and page.paragraph < len(page.blocks):
        page.spans.append(Span("p", Role.WEAK, page.paragraph, len(page.blocks)))
    page.paragraph = None
    return at + 1


def open_container(page: Writer, at: int) -> int:
    element = page.element
    if element is None:
        page.push(at)
        return at + 1
    if element.is_listing:
        return listing(page, at)
    page.push(at)
    if element.language is not None:
        page.language = element.language
    if not page.heading and not TITLES.isdisjoint(element.classes) and _is_short(page, at):
        page.heading = 1
    return at + 1


def _is_short(page: Writer, at: int) -> bool:
    """Whether the element at `at` is one line that could be the title of the page."""
    stop = page.tokens.end(at)
    if not inline.NOT_IN_TITLE.isdisjoint(page.names[at + 1 : stop]):
        return False
    return 0 < len(page.tokens.text(at, stop).strip()) < 200


def open_heading(page: Writer, at: int) -> int:
    page.flush()
    page.heading = int(page.names[at][1])
    return at + 1


def close_heading(page: Writer, at: int) -> int:
    page.flush()
    page.heading = 0
    return at + 1


def open_list(page: Writer, at: int) -> int:
    frame = page.push(at)
    if frame.name == "ol":
        start = page.element.attributes.get("start", "1") if page.element else "1"
        frame.counter = int(start) if start.isdecimal() and len(start) < 7 else 1
    return at + 1


def open_item(page: Writer, at: int) -> int:
    outer = page.frames[-1] if page.frames else None
    page.push(at)
    marker = "- "
    if outer is not None and outer.counter is not None:
        marker = f"{outer.counter}. "
        outer.counter += 1
    if len(page.indent) < _MAX_INDENT:
        page.lead = (page.indent if page.lead is None else page.lead) + marker
        page.indent += " " * len(marker)
    return at + 1


def open_quotation(page: Writer, at: int) -> int:
    page.push(at)
    if len(page.indent) < _MAX_INDENT:
        if page.lead is not None:
            page.lead += "> "
        page.indent += "> "
    return at + 1


def open_term(page: Writer, at: int) -> int:
    if page.frames:
        page.frames[-1].counter = 1
    page.push(at)
    page.kind = Kind.TERM
    return at + 1


def open_definition(page: Writer, at: int) -> int:
    # Without a term it is there for its indentation alone.
    has_term = bool(page.frames) and page.frames[-1].counter is not None
    page.push(at)
    page.kind = Kind.TEXT
    if has_term:
        page.lead = (page.indent if page.lead is None else page.lead) + ": "
    return at + 1
