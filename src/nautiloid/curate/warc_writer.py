"""Writes web archives (WARC/1.1), one gzip member a record, the same bytes for the same input."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import struct
import uuid
import zlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

from nautiloid.core.errors import InputError
from nautiloid.core.files import atomic_path

_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"  # no name, no time


@dataclass(frozen=True)
class WarcWriter:
    """Appends records to an open file.

    Args:
        file: Where the bytes go.
        date: Date of the records that name none.
        level: Effort of the compression, 1 to 9; 0 writes plain records.
    """

    file: BinaryIO
    date: datetime
    level: int = 6

    def info(self, filename: str, fields: Mapping[str, str]) -> int:
        """Write a `warcinfo` record; returns the offset of the record."""
        block = "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()
        headers = {"WARC-Filename": filename, "Content-Type": "application/warc-fields"}
        return self.record("warcinfo", block, headers)

    def response(
        self,
        url: str,
        content: bytes,
        *,
        mime: str = "text/html",
        charset: str | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        date: datetime | None = None,
    ) -> int:
        """Write a `response` record with an HTTP header; returns the offset of the record."""
        type_ = f"{mime}; charset={charset}" if charset else mime
        fields = {"Content-Type": type_, "Content-Length": str(len(content)), **(headers or {})}
        lines = [f"HTTP/1.1 {status} {'OK' if status == 200 else 'Status'}"]
        lines += [f"{name}: {_line(value)}" for name, value in fields.items()]
        block = "\r\n".join(lines).encode() + b"\r\n\r\n" + content
        return self.record(
            "response",
            block,
            {
                "WARC-Target-URI": url,
                "WARC-Payload-Digest": digest(content),
                "Content-Type": "application/http; msgtype=response",
            },
            date=date,
        )

    def conversion(self, url: str, text: str, *, date: datetime | None = None) -> int:
        """Write a `conversion` record of plain text, as in WET files; returns its offset."""
        headers = {"WARC-Target-URI": url, "Content-Type": "text/plain"}
        return self.record("conversion", text.encode(), headers, date=date)

    def record(
        self,
        type: str,
        block: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        date: datetime | None = None,
    ) -> int:
        """Write a record of any type; returns the offset of the record."""
        offset = self.file.tell()
        when = (date or self.date).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        given = headers or {}
        seed = f"{type} {given.get('WARC-Target-URI', '')} {when} {offset} {digest(block)}"
        fields = {
            "WARC-Type": type,
            "WARC-Record-ID": f"<{uuid.uuid5(uuid.NAMESPACE_URL, seed).urn}>",
            "WARC-Date": when,
            "WARC-Block-Digest": digest(block),
            **given,
            "Content-Length": str(len(block)),
        }
        lines = "\r\n".join(f"{name}: {_line(value)}" for name, value in fields.items())
        self.file.write(self._packed(f"WARC/1.1\r\n{lines}\r\n\r\n".encode() + block + b"\r\n\r\n"))
        return offset

    def _packed(self, content: bytes) -> bytes:
        if self.level == 0:
            return content
        stream = zlib.compressobj(self.level, zlib.DEFLATED, -15)
        packed = stream.compress(content) + stream.flush()
        tail = struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)
        return _GZIP_HEADER + packed + tail


@contextlib.contextmanager
def writing(
    path: str | os.PathLike[str], *, date: datetime, level: int = 6
) -> Generator[WarcWriter]:
    """A writer to a new archive that is at `path` whole or not at all.

    Raises:
        InputError: The disk is full or the place is not writable.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield WarcWriter(file, date, level)


def digest(content: bytes) -> str:
    """The digest that archives state: SHA-1 in base 32.

    >>> digest(b"")
    'sha1:3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ'
    """
    sha = hashlib.sha1(content, usedforsecurity=False).digest()
    return f"sha1:{base64.b32encode(sha).decode()}"


def _line(value: str) -> str:
    if "\r" in value or "\n" in value:
        raise InputError("header", value, "use a value of one line")
    return value
