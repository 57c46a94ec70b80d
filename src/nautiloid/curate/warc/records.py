"""Records of an archive, each judged on its own: what is whole is given, what is not is counted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from nautiloid.curate.page import Fault
from nautiloid.curate.warc.fields import fields
from nautiloid.curate.warc.members import START, Codec, DamageError, Piece, Plain

HEADER_BYTES = 1 << 16
SCAN_FACTOR = 64  # times the largest record are inflated in search of the next one
_VERSION = re.compile(rb"WARC/[01]\.\d{1,2}[ \t]*\r?\n")
_START_LINE = re.compile(rb"WARC/[01]\.\d{1,2}\r?\n[A-Za-z][A-Za-z-]{0,60}:")
_LENGTH = re.compile(r"[0-9]{1,15}")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_LINE_ENDS = re.compile(rb"[\r\n]*")


@dataclass(frozen=True, slots=True)
class Record:
    """One whole record.

    Args:
        headers: Fields by lower-case name; of a repeated one the first.
        block: What follows the header, exactly Content-Length bytes.
        member: Offset in the file of the gzip member or zstd frame; of the record where there is none.
        inner: Offset in the decompressed member.
    """

    headers: dict[str, str]
    block: bytes
    member: int
    inner: int

    @property
    def place(self) -> str:
        """The two offsets; the same in whatever pieces the file is read."""
        return _place("", self.member, self.inner)[1:]


def records(
    codec: Codec, *, start: int, stop: int | None, record_bytes: int, label: str
) -> Iterator[Record | Fault]:
    """Whole records that start in a range of the file, and what damage there was.

    A range answers for everything from the first record start in it to the first one behind it,
    so that neighbouring ranges count damage between them once.

    Args:
        codec: The opened archive.
        start: First byte of the range.
        stop: First byte behind it; None is the end of the file.
        record_bytes: Longer records are counted as `too_large`.
        label: Name of the file in faults.
    """
    offset = codec.next_start(start) if start else 0
    while offset is not None and (stop is None or offset < stop):
        cursor = _Cursor(codec, offset)
        try:
            yield from _run(cursor, stop, record_bytes, label)
            return
        except DamageError as damage:
            yield _fault(damage, f"{label}@{damage.member}", lost=cursor.lost_by(damage))
            # a cut member without a check sum may have taken the start of the next one with it
            first = cursor.member if cursor.given == 0 else damage.member
            offset = codec.next_start(min(first, damage.member) + 1)


def _place(label: str, member: int, inner: int) -> str:
    return f"{label}@{member}+{inner}" if inner else f"{label}@{member}"


def _fault(damage: DamageError, place: str, lost: int | None) -> Fault:
    reason = {"corrupt": "corrupt_record", "bomb": "bomb"}.get(damage.reason, damage.reason)
    return Fault(place, reason, damage.detail, lost)


@dataclass(slots=True)
class _Cursor:
    """Decompressed bytes from a position, as many as are asked for."""

    codec: Codec
    offset: int
    buffer: bytearray = field(default_factory=bytearray)
    member: int = 0
    inner: int = 0
    starts: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Index in the buffer and offset in the file of the members that start in the buffer."""
    damage: DamageError | None = None
    is_inside: bool = False
    """Whether the first byte of the buffer belongs to a record that was not given yet."""
    given: int = 0
    """Records of this member that were whole."""

    pieces: Iterator[Piece] = field(init=False)

    def __post_init__(self) -> None:
        self.pieces = self.codec.pieces(self.offset)
        self.member = self.offset

    def fill(self) -> bool:
        """Append a piece; False at the end, where `damage` tells why it is not a clean one."""
        if self.damage is not None:
            return False
        try:
            piece = next(self.pieces, None)
        except DamageError as damage:
            self.damage = damage
            return False
        if piece is None:
            return False
        if piece.is_first:
            self.starts.append((len(self.buffer), piece.member))
        self.buffer += piece.content
        return True

    def need(self, size: int) -> bool:
        """Have so many bytes in the buffer."""
        while len(self.buffer) < size:
            if not self.fill():
                return False
        return True

    def drop(self, size: int) -> None:
        """Go forward by so many bytes of the buffer."""
        self.inner += size
        behind = 0
        for index, member in self.starts:
            if index > size:
                break
            self.given = self.given if member == self.member else 0
            self.member, self.inner = member, size - index
            behind += 1
        self.starts = [(index - size, member) for index, member in self.starts[behind:]]
        del self.buffer[:size]

    def place(self) -> tuple[int, int]:
        """Member and offset in it of the buffer's first byte."""
        if isinstance(self.codec, Plain):
            return self.member + self.inner, 0
        return self.member, self.inner

    def record_start(self, begin: int, end: int) -> int | None:
        """Index of the first member in a part of the buffer that starts with a record."""
        for index, _ in self.starts:
            if begin < index < end:
                while len(self.buffer) < index + len(START) and self.fill():
                    pass
                if self.buffer.startswith(START, index):
                    return index
        return None

    def lost_by(self, damage: DamageError) -> int | None:
        """How many records damage costs: the one that was being read, or what cannot be known."""
        is_here = damage.member == self.member
        if damage.reason == "junk" or (is_here and self.given > 1):
            return None  # never was a record, or one member holds many
        if damage.reason == "truncated" or is_here:
            return 1 if self.is_inside else (0 if damage.reason == "truncated" else None)
        return 1


def _run(
    cursor: _Cursor, stop: int | None, record_bytes: int, label: str
) -> Iterator[Record | Fault]:
    """Records to the end of the range; raises the `DamageError` that ends them early."""
    while True:
        cursor.is_inside = False
        if not cursor.need(1):
            if cursor.damage is not None:
                raise cursor.damage
            return
        member, inner = cursor.place()
        is_at_start = cursor.need(len(START)) and cursor.buffer.startswith(START)
        # the same test by which the next range finds its first record
        is_behind = stop is not None and is_at_start and inner == 0 and member >= stop
        if is_behind and cursor.codec.is_start(member):
            return
        cursor.is_inside = True
        place = _place(label, member, inner)
        problem, headers, header_end = _header(cursor)
        if problem is None:
            size = int(headers["content-length"])
            if size > record_bytes:
                problem = "too_large", f"Content-Length {size}"
        else:
            size = 0
        if problem is not None:
            yield Fault(place, *problem)
            cursor.is_inside = False
            _seek(cursor, header_end, record_bytes)
            continue
        end = header_end + size
        is_whole = cursor.need(end)
        early = cursor.record_start(0, min(end, len(cursor.buffer)))
        if early is not None:
            yield Fault(place, "content_length", f"Content-Length {size}, the member holds less")
            cursor.drop(early)
            continue
        if not is_whole:
            if cursor.damage is not None:
                raise cursor.damage
            is_cut = isinstance(cursor.codec, Plain) and not _has_record(cursor, header_end)
            detail = f"Content-Length {size}, {len(cursor.buffer) - header_end} bytes are left"
            yield Fault(place, "truncated" if is_cut else "content_length", detail)
            _seek(cursor, header_end, record_bytes)
            continue
        closing = _closing(cursor, end)
        if closing is None:
            if cursor.damage is not None and cursor.damage.member == cursor.member:
                raise cursor.damage
            yield Fault(place, "content_length", f"no record ends at Content-Length {size}")
            _seek(cursor, header_end, record_bytes)
            continue
        yield Record(headers, bytes(memoryview(cursor.buffer)[header_end:end]), member, inner)
        cursor.is_inside = False
        cursor.given += 1
        is_junk = closing < 0
        cursor.drop(end + 4 if is_junk else closing)
        if is_junk:
            yield Fault(_place(label, *cursor.place()), "junk", "bytes between records", 0)
            _seek(cursor, 0, record_bytes)


def _header(cursor: _Cursor) -> tuple[tuple[str, str] | None, dict[str, str], int]:
    """What is wrong with the header (reason, detail), its fields, and where the search goes on."""
    blank = None
    seen = 0
    while blank is None:
        blank = _BLANK_LINE.search(cursor.buffer, max(0, seen - 4), HEADER_BYTES)
        seen = len(cursor.buffer)
        if blank is None and (seen >= HEADER_BYTES or not cursor.fill()):
            break
    head = bytes(cursor.buffer[: blank.end() if blank else HEADER_BYTES])
    version = _VERSION.match(head)
    if version is None:
        return ("bad_header", "no WARC version line"), {}, min(1, len(head))
    if blank is None:
        if cursor.damage is not None:
            raise cursor.damage
        what = "is cut" if len(head) < HEADER_BYTES else f"over {HEADER_BYTES} bytes"
        return (("truncated" if "cut" in what else "bad_header"), f"header {what}"), {}, len(START)
    inside = _START_LINE.search(head, version.end())
    if inside is not None:  # the end of this header and its block are missing
        return ("bad_header", "another record starts in the header"), {}, inside.start()
    headers = fields(head[version.end() : blank.start()])
    length = headers.get("content-length", "")
    if not _LENGTH.fullmatch(length):
        detail = f"Content-Length {length[:40]!r}" if length else "no Content-Length"
        return ("bad_header", detail), headers, blank.end()
    if "warc-type" not in headers:
        return ("bad_header", "no WARC-Type"), headers, blank.end()
    return None, headers, blank.end()


def _closing(cursor: _Cursor, end: int) -> int | None:
    """Index where the next record starts; -1: this one ends well, junk follows; None: it does not."""
    cursor.need(end + 4 + len(START))
    buffer = cursor.buffer
    damage = cursor.damage
    at = damage.member if damage is not None and damage.reason == "corrupt" else None
    if at == cursor.member and len(buffer) <= end + 4:
        return None  # the check sum of this record's own member failed
    match = _LINE_ENDS.match(buffer, end, end + 16)
    after = match.end() if match else end
    if after == len(buffer) or buffer.startswith(START, after):
        return after
    if any(index == after for index, _ in cursor.starts):
        return after
    if buffer[end : end + 4] == b"\r\n\r\n":
        return -1
    return None


def _has_record(cursor: _Cursor, begin: int) -> bool:
    return _START_LINE.search(cursor.buffer, begin) is not None


def _seek(cursor: _Cursor, begin: int, record_bytes: int) -> None:
    """Go to the next record start at or behind an index of the buffer, in bounded memory."""
    scanned = 0
    cursor.drop(begin)
    while True:
        first = cursor.record_start(-1, len(cursor.buffer))
        match = _START_LINE.search(cursor.buffer)
        found = [i for i in (first, match.start() if match else None) if i is not None]
        if found:
            cursor.drop(min(found))
            return
        keep = min(len(cursor.buffer), 80)
        scanned += len(cursor.buffer) - keep
        cursor.drop(len(cursor.buffer) - keep)
        if scanned > SCAN_FACTOR * record_bytes and not isinstance(cursor.codec, Plain):
            cursor.damage = DamageError(
                "bomb", cursor.member, f"over {scanned} bytes hold no record"
            )
        if not cursor.fill():
            cursor.drop(len(cursor.buffer))
            return
