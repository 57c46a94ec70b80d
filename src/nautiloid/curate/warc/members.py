"""Decompresses an archive piece by piece and finds where to go on behind damage.

A record of Common Crawl is a gzip member of its own, so a damaged one costs no other: the next
member whose content starts with `WARC/` is a safe place to go on.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import zstandard

from nautiloid.curate.warc.data import Data, is_padding

READ_BYTES = 1 << 14
PIECE_BYTES = 1 << 18
WINDOW_BYTES = 1 << 27  # a zstd frame may ask for 8 GiB
GZIP = b"\x1f\x8b\x08"
ZSTD = b"\x28\xb5\x2f\xfd"
SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
START = b"WARC/"
_PLAIN_START = re.compile(rb"\r?\n\r?\n(WARC/[01]\.\d{1,2}\r?\n[A-Za-z][A-Za-z-]{0,60}:)")


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive decompressed bytes.

    Args:
        member: Offset in the file of the member they belong to.
        is_first: The member starts with them.
        content: The bytes; at most a mebibyte.
        consumed: Offset in the file up to which it was read for them.
    """

    member: int
    is_first: bool
    content: bytes
    consumed: int


class DamageError(Exception):
    """The archive cannot be decompressed further from here.

    Args:
        reason: `corrupt`, `truncated` or `junk`.
        member: Offset of the member it happened in.
    """

    def __init__(self, reason: str, member: int, detail: str = ""):
        super().__init__(detail)
        self.reason = reason
        self.member = member
        self.detail = detail


class Codec(Protocol):
    """One compression of archives."""

    def pieces(self, offset: int) -> Iterator[Piece]:
        """Content from a member's start to the end of the file; raises `DamageError`."""
        ...

    def is_start(self, offset: int) -> bool:
        """Whether reading can begin here with a record."""
        ...

    def next_start(self, offset: int) -> int | None:
        """The first such place at or behind `offset`; None when there is none."""
        ...


def codec(data: Data) -> Codec:
    """The codec of a file, told by its first bytes."""
    head = data[:4]
    if head.startswith(GZIP):
        return Gzip(data)
    if head == ZSTD or SKIPPABLE.match(head):
        return Zstd(data)
    return Plain(data)


def archive_codec(data: Data) -> Codec:
    """The codec of an archive; where its first bytes are damaged, told by its first record."""
    found = codec(data)
    if not isinstance(found, Plain) or data[: len(START)] == START:
        return found
    starts = [(c.next_start(0), n, c) for n, c in enumerate((found, Gzip(data), Zstd(data)))]
    return min((s for s in starts if s[0] is not None), default=(0, 0, found))[2]


class Gzip:
    """Gzip members, one a record, or fewer that hold many."""

    def __init__(self, data: Data):
        self.data = data

    def pieces(self, offset: int) -> Iterator[Piece]:
        """Content from a member's start to the end of the file; raises `DamageError`."""
        size = len(self.data)
        while offset < size:
            if self.data[offset : offset + 3] != GZIP:
                if is_padding(self.data, offset):
                    return
                raise DamageError(
                    _start_reason(self.data, offset), offset, "no gzip member starts here"
                )
            stream = zlib.decompressobj(31)
            at = offset
            is_first = True
            rest = b""
            while not stream.eof:
                if not rest:
                    rest = self.data[at : at + READ_BYTES]
                    at += len(rest)
                    if not rest:
                        raise DamageError("truncated", offset, "the file ends inside a gzip member")
                try:
                    content = stream.decompress(rest, PIECE_BYTES)
                except zlib.error as error:
                    raise DamageError("corrupt", offset, str(error)) from None
                rest = stream.unconsumed_tail
                if content:
                    yield Piece(offset, is_first, content, at)
                    is_first = False
            offset = at - len(stream.unused_data)

    def next_start(self, offset: int) -> int | None:
        """The first member at or behind `offset` whose content is a record."""
        at = self.data.find(GZIP, offset)
        while at >= 0:
            if self.is_start(at):
                return at
            at = self.data.find(GZIP, at + 1)
        return None

    def is_start(self, offset: int) -> bool:
        """Whether a member starts here whose content is a record."""
        head = self.data[offset : offset + 4]
        if not head.startswith(GZIP) or len(head) < 4 or head[3] & 0xE0:
            return False
        stream = zlib.decompressobj(31)
        found = b""
        try:
            # names and comments in the header may be long
            for at in range(offset, offset + (1 << 16), 512):
                piece = self.data[at : at + 512]
                found += stream.decompress(piece, len(START) - len(found))
                if len(found) == len(START) or stream.eof or not piece:
                    break
        except zlib.error:
            return False
        return found == START


class Zstd:
    """Zstandard frames; a dictionary may come first in a skippable frame (the `.warc.zst` proposal)."""

    def __init__(self, data: Data):
        self.data = data
        dictionary = _dictionary(data)
        self.decompressor = zstandard.ZstdDecompressor(
            dict_data=dictionary, max_window_size=WINDOW_BYTES
        )

    def pieces(self, offset: int) -> Iterator[Piece]:
        """Content from a frame's start to the end of the file; raises `DamageError`."""
        size = len(self.data)
        while offset < size:
            head = self.data[offset : offset + 18]
            if SKIPPABLE.match(head) and len(head) >= 8:
                offset += 8 + struct.unpack_from("<I", head, 4)[0]
                if offset > size:
                    raise DamageError("truncated", size, "the file ends inside a skippable frame")
                continue
            if not head.startswith(ZSTD):
                if is_padding(self.data, offset):
                    return
                raise DamageError("junk", offset, "no zstd frame starts here")
            end = offset
            is_first = True
            stream = self.decompressor.decompressobj()
            try:
                for stop, compressed in self._blocks(offset):
                    end = stop
                    content = stream.decompress(compressed)
                    if content:
                        yield Piece(offset, is_first, content, end)
                        is_first = False
            except zstandard.ZstdError as error:
                raise DamageError("corrupt", offset, str(error)) from None
            offset = end

    def _blocks(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """Ends and bytes of the blocks of a frame (RFC 8878, 3.1.1).

        A block gives at most 128 KiB, so bytes fed block by block cannot explode.
        """
        data = self.data
        header = zstandard.frame_header_size(data[offset : offset + 18])
        has_checksum = bool(data[offset + 4 : offset + 5][0] & 4)
        start, at = offset, offset + header
        while True:
            word = data[at : at + 3]
            if len(word) < 3:
                raise DamageError("truncated", offset, "the file ends inside a zstd frame")
            value = int.from_bytes(word, "little")
            is_last, kind, size = value & 1, value >> 1 & 3, value >> 3
            at += 3 + (1 if kind == 1 else size)
            if kind == 3 or size > 1 << 21:
                raise DamageError("corrupt", offset, "reserved zstd block")
            if is_last and has_checksum:
                at += 4
            if at > len(data):
                raise DamageError("truncated", offset, "the file ends inside a zstd frame")
            yield at, data[start:at]
            if is_last:
                return
            start = at

    def next_start(self, offset: int) -> int | None:
        """The first frame at or behind `offset` whose content is a record."""
        at = self.data.find(ZSTD, offset)
        while at >= 0:
            if self.is_start(at):
                return at
            at = self.data.find(ZSTD, at + 1)
        return None

    def is_start(self, offset: int) -> bool:
        """Whether a frame starts here whose content is a record."""
        if self.data[offset : offset + 4] != ZSTD:
            return False
        try:
            piece = next(self.pieces(offset), None)
        except DamageError:
            return False
        return piece is not None and piece.content.startswith(START)


class Plain:
    """No compression: the whole file is one member."""

    def __init__(self, data: Data):
        self.data = data

    def pieces(self, offset: int) -> Iterator[Piece]:
        """Content to the end of the file."""
        for at in range(offset, len(self.data), PIECE_BYTES):
            end = min(at + PIECE_BYTES, len(self.data))
            yield Piece(offset, at == offset, self.data[at:end], end)

    def next_start(self, offset: int) -> int | None:
        """The first line at or behind `offset` that starts a record."""
        if offset == 0 and self.is_start(0):
            return 0
        at = self.data.find(START, offset)
        while at >= 0:
            if self.is_start(at):
                return at
            at = self.data.find(START, at + 1)
        return None

    def is_start(self, offset: int) -> bool:
        """Whether a version line with a field behind it stands here, after an empty line."""
        if offset == 0:
            return self.data[: len(START)] == START
        first = max(0, offset - 4)
        match = _PLAIN_START.search(self.data[first : offset + 100])
        return match is not None and match.start(1) == offset - first


def _start_reason(data: Data, offset: int) -> str:
    """`corrupt` for a member with a damaged header, `junk` for what never was one."""
    try:
        found = zlib.decompressobj(-15).decompress(data[offset + 10 : offset + 522], len(START))
    except zlib.error:
        return "junk"
    return "corrupt" if found == START else "junk"


def _dictionary(data: Data) -> zstandard.ZstdCompressionDict | None:
    if data[:4] != b"\x5d\x2a\x4d\x18" or len(data) < 8:
        return None
    size = min(struct.unpack_from("<I", data[4:8])[0], WINDOW_BYTES)
    content = data[8 : 8 + size]
    try:
        if content.startswith(ZSTD):
            content = zstandard.ZstdDecompressor().decompress(content, max_output_size=1 << 24)
        return zstandard.ZstdCompressionDict(content)
    except zstandard.ZstdError:
        return None  # frames that need it are then counted as corrupt, each
