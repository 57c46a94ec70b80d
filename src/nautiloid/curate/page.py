"""What readers give: pages, ready documents, and faults where something could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Page:
    """One resource of the web as it was stored.

    Args:
        id: Unique and stable: the same bytes at the same place have the same id in every run.
        content: The payload, transfer and content encodings undone, not yet decoded to text.
        url: Where it was; None for a local file.
        mime: Media type as declared, lower case, without parameters.
        charset: Character set as declared by the transport, not by the page itself.
        licence: Licence of the content, where the source states one.
        meta: JSON values that stay with the document (`date`, `warc_filename`, ...).
    """

    id: str
    content: bytes
    url: str | None = None
    mime: str | None = None
    charset: str | None = None
    licence: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Fault:
    """Something of a unit that could not be read; the reader went on behind it.

    Args:
        place: File and position, for a person.
        reason: A short fixed word, counted in the report: `truncated`, `corrupt_record`, ...
        detail: What was found, one line.
        lost: Records known to be lost; 0 when nothing was (a resynchronisation), None unknown.
    """

    place: str
    reason: str
    detail: str = ""
    lost: int | None = 1
