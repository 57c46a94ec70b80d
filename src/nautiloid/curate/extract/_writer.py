"""What has been read of a page: the text of the line, the elements that are open, the blocks so far."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nautiloid.curate.extract._block import Block, Kind, Span
from nautiloid.curate.extract._element import Element, Role, unescape
from nautiloid.curate.extract._table import Table
from nautiloid.curate.extract._tokens import BREAK, Tokens
from nautiloid.curate.math.recover import Recovery

_BREAKS = re.compile(f" ?{BREAK} ?")
# What themes put beside a heading to link to it.
_ANCHORS = re.compile(
    "^[\u25c6\u00b6\u00a7\U0001f517]+ *| *(?:[\u25c6\u00b6\u00a7\U0001f517]+| #)$"
)
_GAPS = re.compile(r"\n{3,}")
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u2060\ufeff\ue007-\uf8ff\x02-\x08\x0b\x0e-\x1f]")

_SHORT = 200


@dataclass(slots=True)
class Frame:
    """An open block element, and what its end restores."""

    name: str
    role: Role
    start: int
    lead: str | None
    indent: str
    heading: int
    language: str
    counter: int | None = None


class Writer:
    """Makes blocks of what the walk hands over.

    Args:
        tokens: The page.
        recovery: Finds delimited formulas in the text of a block.
        keeps_all: Leave navigation and other chrome in.

    Attributes:
        blocks: In reading order.
        spans: Block elements in the order in which they end.
        buffer: Text since the last block.
        flushes: How often the buffer became a block.
        frames: Open block elements, the innermost last.
        tables: Open tables.
        element: The start tag that is being read, where its attributes matter.
        role: Of that tag.
        heading: Level of the open heading, 0 for none.
        kind: Of the next block.
        lead: Marker that waits for the first block of an item.
        indent: Of every line inside open lists and quotations.
        link: Where the open link begins in the buffer.
        link_chars: Characters of links in the buffer.
        marks: Flushes, length of the buffer and link characters at open inline elements.
        language: Of listings, as open elements name it.
        code_end: Flushes and length of the buffer behind the last inline code.
        code_depth: Open elements of inline code.
        paragraph: First block of an open paragraph that may be no content.
    """

    def __init__(self, tokens: Tokens, recovery: Recovery, keeps_all: bool):
        self.tokens = tokens
        self.names = tokens.names
        self.recovery = recovery
        self.keeps_all = keeps_all
        self.blocks: list[Block] = []
        self.spans: list[Span] = []
        self.buffer: list[str] = []
        self.flushes = 0
        self.frames: list[Frame] = []
        self.tables: list[Table] = []
        self.element: Element | None = None
        self.role = Role.PLAIN
        self.heading = 0
        self.kind: int = Kind.TEXT
        self.lead: str | None = None
        self.indent = ""
        self.link: int | None = None
        self.link_chars = 0
        self.marks: list[tuple[int, int, int]] = []
        self.language = ""
        self.code_end: tuple[int, int] = (-1, 0)
        self.code_depth = 0
        self.odd = tokens.odd
        self.paragraph: int | None = None
        self.has_delimiters = recovery.delimiters.backticks

    def flush(self) -> None:
        """Make a block of the text since the last one."""
        buffer = self.buffer
        if not buffer:
            return
        self.flushes += 1
        links = self.link_chars
        if self.link is not None:
            links += sum(map(len, buffer[self.link :]))
            self.link = 0
        self.link_chars = 0
        raw = "".join(buffer)
        buffer.clear()
        if raw.isspace():
            return
        text = self.clean(raw)
        if text:
            self.add(text, Kind.HEADING + self.heading if self.heading else self.kind, links)

    def clean(self, raw: str) -> str:
        """Text of a block: white space collapsed, formulas as marks."""
        text = unescape(raw).replace("\n", " ").strip()
        if len(text) < _SHORT:
            is_plain = text.isprintable()
        else:
            # A look at each character costs more than the few that can matter in a paragraph.
            is_plain = BREAK not in text and not any(char in text for char in self.odd)
        if not is_plain or "  " in text:
            text = " ".join(text.split())
        if not is_plain:
            if BREAK in text:
                text = _GAPS.sub("\n\n", _BREAKS.sub("\n", text).strip())
                if self.heading:
                    text = " ".join(text.split())
            text = _INVISIBLE.sub("", text).strip()
        if self.heading:
            text = _ANCHORS.sub("", text)
        return self.recovery.in_text(text)

    def add(self, text: str, kind: int, link_chars: int = 0) -> None:
        """Append a block, with the marker that waits."""
        if kind > Kind.HEADING and self.lead is not None and self.lead.endswith("- "):
            self.unlist()
        lead, is_item = self.lead, self.lead is not None
        if lead is None:
            lead = self.indent
        elif kind != Kind.TEXT and lead.endswith(": "):
            # A definition that opens with a listing or a heading.
            lead, is_item = self.indent, False
        self.lead = None
        size = len(text)
        self.blocks.append(
            Block(text, kind, lead, self.indent, size, min(link_chars, size), is_item)
        )

    def unlist(self) -> None:
        """Takes the marker and indentation of items away that a heading opens: they are sections."""
        base = self.indent
        for frame in reversed(self.frames):
            if frame.start < len(self.blocks) or (frame.lead is None and frame.name != "li"):
                break
            base = frame.indent
        for frame in self.frames:
            if frame.start == len(self.blocks) and len(frame.indent) > len(base):
                frame.indent = base
        self.lead, self.indent = None, base

    def push(self, at: int) -> Frame:
        """A block element begins."""
        self.flush()
        frame = Frame(
            self.names[at],
            self.role,
            len(self.blocks),
            self.lead,
            self.indent,
            self.heading,
            self.language,
        )
        self.frames.append(frame)
        return frame

    def close(self, at: int) -> int:
        """The innermost block element ends."""
        self.flush()
        if not self.frames:
            return at + 1
        frame = self.frames.pop()
        self.heading = frame.heading
        self.language = frame.language
        self.indent = frame.indent
        self.kind = Kind.TEXT
        if len(self.blocks) == frame.start:
            # Nothing came, so a marker that waits outside still waits.
            self.lead = frame.lead
        else:
            self.lead = None
            self.spans.append(Span(frame.name, frame.role, frame.start, len(self.blocks)))
        return at + 1

    def content(self) -> str | None:
        """Text since the start tag, taken off the buffer; None when a block ended in between."""
        if not self.marks:
            return None
        flushes, start, _ = self.marks.pop()
        if flushes != self.flushes:
            return None
        text = "".join(self.buffer[start:])
        del self.buffer[start:]
        return text
