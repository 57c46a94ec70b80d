"""Elements inside a line: code, scripts, links, quotes.

Each function reads the tag at `at` and returns the index to go on with.
"""

from __future__ import annotations

from nautiloid.curate.extract import _inline as inline
from nautiloid.curate.extract._block import Kind
from nautiloid.curate.extract._listing import listing
from nautiloid.curate.extract._tokens import BREAK
from nautiloid.curate.extract._writer import Writer
from nautiloid.curate.math.formula import OPEN


def line_break(page: Writer, at: int) -> int:
    page.buffer.append(f" {BREAK} ")
    return at + 1


def quote(page: Writer, at: int) -> int:
    page.buffer.append('"')
    return at + 1


def open_link(page: Writer, at: int) -> int:
    page.link = len(page.buffer)
    return at + 1


def open_plain_link(page: Writer, at: int) -> int:
    """A link without a class."""
    if page.buffer and page.names[at - 1] == "/a" and not page.tokens.texts[at]:
        page.buffer.append(" ")
    page.link = len(page.buffer)
    return at + 1


def close_link(page: Writer, at: int) -> int:
    if page.link is not None:
        page.link_chars += sum(map(len, page.buffer[page.link :]))
        page.link = None
    return at + 1


def open_mark(page: Writer, at: int) -> int:
    page.marks.append((page.flushes, len(page.buffer), page.link_chars))
    return at + 1


def close_script(page: Writer, at: int) -> int:
    is_linked = bool(page.marks) and page.link_chars > page.marks[-1][2]
    text = page.content()
    if text:
        page.buffer.append(inline.script(text, page.names[at] == "/sup", is_linked))
    return at + 1


def open_code(page: Writer, at: int) -> int:
    if page.element is not None and page.element.is_listing:
        return listing(page, at)
    names, texts = page.names, page.tokens.texts
    closing = "/" + names[at]
    # Nearly all code is one text, or one span in it.
    if not page.code_depth:
        if names[at + 1] == closing:
            _append_code(page, texts[at + 1])
            return at + 2
        if names[at + 1 : at + 4] == ["span", "/span", closing]:
            _append_code(page, "".join(texts[at + 1 : at + 4]))
            return at + 4
    # A key combination is a `kbd` of several.
    page.code_depth += 1
    return open_mark(page, at) if page.code_depth == 1 else at + 1


def close_code(page: Writer, at: int) -> int:
    page.code_depth = max(0, page.code_depth - 1)
    if page.code_depth:
        return at + 1
    text = page.content()
    if text:
        _append_code(page, text)
    return at + 1


def _append_code(page: Writer, text: str) -> None:
    """Inline code; neighbours are one piece in several typefaces."""
    made = _inline_code(page, text)
    buffer = page.buffer
    if page.code_end == (page.flushes, len(buffer)) and buffer[-1][-1:] == made[:1] == "`":
        made = buffer.pop()[:-1] + made[1:]
    buffer.append(made)
    page.code_end = (page.flushes, len(buffer))


def _inline_code(page: Writer, text: str) -> str:
    if OPEN in text:
        return text
    if BREAK in text or page.heading or page.kind == Kind.TERM:
        return _protected(page, text)
    stripped = text.strip()
    if not stripped:
        return text
    fence = "`" if "`" not in stripped else "``"
    made = _protected(page, f"{fence}{stripped}{fence}")
    before = " " if text[0].isspace() else ""
    return before + made + (" " if text[-1].isspace() else "")


def _protected(page: Writer, text: str) -> str:
    """Text in which nothing opens a formula."""
    if "$" in text or "\\" in text or "[" in text or page.has_delimiters:
        return page.recovery.protect(text)
    return text
