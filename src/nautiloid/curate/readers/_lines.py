"""Lines of large text files, plain or compressed, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nautiloid.curate.page import Fault
from nautiloid.curate.reader import Limits
from nautiloid.curate.sniff import CONTROLS
from nautiloid.curate.warc.data import Data, opened
from nautiloid.curate.warc.members import Codec, DamageError, Plain, codec

FREE_BYTES = 64 << 20
"""A compressed file that gives no more than this is no bomb, whatever its ratio."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Args:
        offset: Of its first byte, decompressed.
        content: Without the line end; None where it is longer than the limit.
        row: Its number, from 1; counted when it is asked for, since ranges start anywhere.
    """

    offset: int
    content: bytes | None
    row: Callable[[], int]


def lines(
    path: str, name: str, limits: Limits, *, start: int = 0, stop: int | None = None
) -> Iterator[Line | Fault]:
    """Lines that start in a range of a file, and what was wrong with the file.

    Args:
        path: The file; `.gz` and `.zst` are decompressed, then `start` and `stop` do not count.
        name: Its name in faults.
        limits: Bounds of a line and of the ratio of decompression.
        start: First byte of the range.
        stop: First byte behind it.
    """
    try:
        with opened(path) as data:
            if path.lower().endswith((".gz", ".zst")):
                found = codec(data)
                if isinstance(found, Plain) and data[:1024] != data[:1024].translate(
                    None, CONTROLS
                ):
                    yield Fault(name, "corrupt_record", "is not of the kind its name says", None)
                else:
                    yield from _streamed(found, name, limits)
            else:
                yield from _plain(data, limits.line_chars, start, stop)
    except OSError as error:
        yield Fault(name, "unreadable", error.strerror or str(error), None)


def _plain(data: Data, limit: int, start: int, stop: int | None) -> Iterator[Line]:
    size = len(data)
    at = start
    if start > 0 and data[start - 1 : start] != b"\n":
        at = _after_newline(data, start)
    number = 1 if at == 0 else None
    while at < size and (stop is None or at < stop):
        end = data.find(b"\n", at)
        end = size if end < 0 else end
        content = data[at:end] if end - at <= limit else None
        yield Line(at, content, _counter(data, at) if number is None else _fixed(number))
        at = end + 1
        number = None if number is None else number + 1


def _after_newline(data: Data, at: int) -> int:
    found = data.find(b"\n", at)
    return len(data) if found < 0 else found + 1


def _fixed(number: int) -> Callable[[], int]:
    return lambda: number


def _counter(data: Data, offset: int) -> Callable[[], int]:
    def count() -> int:
        step = 1 << 22
        return 1 + sum(
            data[at : min(at + step, offset)].count(b"\n") for at in range(0, offset, step)
        )

    return count


def _streamed(codec: Codec, name: str, limits: Limits) -> Iterator[Line | Fault]:
    rest = bytearray()
    is_long = False
    offset = number = 0
    produced = 0
    try:
        for found in codec.pieces(0):
            piece = found.content
            produced += len(piece)
            if produced > max(FREE_BYTES, limits.expansion * found.consumed):
                detail = f"over {limits.expansion:g} times its stored size"
                yield Fault(name, "bomb", detail, None)
                return
            at = 0
            while (end := piece.find(b"\n", at)) >= 0:
                number += 1
                rest += piece[at:end]
                is_long = is_long or len(rest) > limits.line_chars
                yield Line(offset, None if is_long else bytes(rest), _fixed(number))
                at = end + 1
                offset = produced - len(piece) + at
                rest.clear()
                is_long = False
            if not is_long:
                rest += piece[at:]
                is_long = len(rest) > limits.line_chars
            if is_long:
                rest.clear()
    except DamageError as damage:
        reason = "corrupt_record" if damage.reason == "corrupt" else damage.reason
        yield Fault(f"{name}:{number + 1}", reason, damage.detail, None)
        return
    if is_long or rest:
        yield Line(offset, None if is_long else bytes(rest), _fixed(number + 1))
