"""Undamaged stretches of gzip archives by fastwarc; where anything is odd, the careful way takes over.

A record is given when a later one was found where it should be. So whatever stops fastwarc, or makes
it skip something, is behind the last given record, and reading goes on there record by record.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from nautiloid.curate.warc.data import BLOCK_BYTES, Data
from nautiloid.curate.warc.members import Gzip
from nautiloid.curate.warc.records import HEADER_BYTES, Record

WANTED = ("response", "resource", "conversion")


class _Stream:
    """A file object over a part of an archive."""

    def __init__(self, data: Data, start: int):
        self.data = data
        self.start = self.at = start
        self.block = b""
        self.base = start

    def read(self, size: int) -> bytes:
        """The next bytes; fewer than asked for at the end of a block, as files may give."""
        at = self.at - self.base
        if not 0 <= at < len(self.block):
            self.base, at = self.at, 0
            self.block = self.data[self.at : self.at + BLOCK_BYTES]
        content = self.block[at : at + size]
        self.at += len(content)
        return content

    def tell(self) -> int:
        """How many were read."""
        return self.at - self.start

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go elsewhere in the part."""
        base = (self.start, self.at, len(self.data))[whence]
        self.at = base + offset
        return self.at - self.start


def fast_records(
    codec: Gzip, *, start: int, stop: int | None, record_bytes: int
) -> Generator[Record, None, int | None]:
    """Records that start in a range, as long as everything is in order; requests and the like are left out.

    Args:
        codec: The opened archive.
        start: A place where a record starts.
        stop: First byte behind the range.
        record_bytes: Longer records are left to the careful way.

    Returns:
        Where the careful way goes on; None at the end of the range.
    """
    try:
        from fastwarc.warc import ArchiveIterator
    except ModuleNotFoundError:
        return start  # the careful way gives the same, slower
    pending: Record | None = None
    resume = last = start
    is_first = True
    try:
        stream: Any = _Stream(codec.data, start)
        for found in ArchiveIterator(stream, parse_http=False, max_header_len=HEADER_BYTES):
            at = start + found.stream_pos
            headers: dict[str, str] = {}
            is_odd = False
            for name, value in found.headers.items():
                is_odd = is_odd or "\n" in value or not name.replace("-", "").isalnum()
                headers.setdefault(name.lower(), value)
            is_next = at == start if is_first else at > last
            is_first = False
            is_long = found.content_length > record_bytes
            if is_long or is_odd or "warc-type" not in headers:
                return resume
            if not headers.get("content-length", "").isdecimal() or not is_next:
                return resume
            last = at
            is_wanted = headers["warc-type"].lower() in WANTED
            is_behind = stop is not None and at >= stop
            if (is_wanted or is_behind) and not codec.is_start(at):
                return resume
            if is_behind:
                if pending is not None:
                    yield pending
                return None
            if not is_wanted:
                continue
            block = found.reader.read()
            if len(block) != int(headers["content-length"]):
                return resume
            if pending is not None:
                yield pending
            pending, resume = Record(headers, block, at, 0), at
    except (OSError, ValueError):
        return resume
    return resume  # the last record is read with care: the file may be cut
