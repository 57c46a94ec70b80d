"""What a page is made of between its tags and its Markdown: blocks, and spans of blocks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from nautiloid.curate.extract._element import Role


class Kind(IntEnum):
    """What a block is."""

    TEXT = 0
    TERM = 1
    CODE = 2
    TABLE = 3
    # HEADING + 1 to HEADING + 6 are the levels.
    HEADING = 10


@dataclass(slots=True)
class Block:
    """A paragraph, heading, listing or table.

    Args:
        text: Without the prefixes of lists and quotations; formulas are marks.
        kind: A `Kind`, headings with their level added.
        lead: Prefix of the first line, such as a list marker.
        indent: Prefix of the other lines.
        chars: Length that counts as content.
        link_chars: Of these inside links.
        is_item: Whether it opens a list item.
    """

    text: str
    kind: int
    lead: str
    indent: str
    chars: int
    link_chars: int
    is_item: bool = False


class Span(NamedTuple):
    """The blocks of one element: `blocks[first:last]`."""

    name: str
    role: Role
    first: int
    last: int
