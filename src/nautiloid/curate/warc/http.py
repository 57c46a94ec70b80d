"""HTTP responses as they were stored: status, type, and the payload with its encodings undone.

What comes out is bounded while it is produced, so a bomb costs no more than its limit.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import zstandard

from nautiloid.core.errors import missing_extra
from nautiloid.curate.page import Fault
from nautiloid.curate.reader import Limits
from nautiloid.curate.warc.fields import fields

HEADER_BYTES = 1 << 16
PIECE_BYTES = 1 << 16
MAX_ENCODINGS = 3
FREE_BYTES = 1 << 20
"""Content of up to this size is no bomb, whatever its ratio."""
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})\b[^\r\n]*\r?\n", re.IGNORECASE)
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_CHUNK = re.compile(rb"[ \t]*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]{0,1000})?\r?\n")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([A-Za-z0-9._:-]{1,40})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Response:
    """A response whose payload is ready to be read.

    Args:
        status: Status code.
        mime: Media type, lower case, without parameters; None where none is stated.
        charset: Character set of the Content-Type.
        content: The payload.
        is_partial: The payload ended before its encoding did.
    """

    status: int
    mime: str | None
    charset: str | None
    content: bytes
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """The part of a response before its payload."""

    status: int
    headers: dict[str, str]
    end: int

    @property
    def mime(self) -> str | None:
        """Media type, lower case, without parameters."""
        return media_type(self.headers.get("content-type"))[0]


def media_type(value: str | None) -> tuple[str | None, str | None]:
    """Type and character set of a Content-Type field.

    >>> media_type("Text/HTML; charset=latin1")
    ('text/html', 'latin1')
    """
    if not value:
        return None, None
    mime = value.partition(";")[0].partition(",")[0].strip().lower()
    match = _CHARSET.search(value[:1000])
    return mime if "/" in mime else None, match[1] if match else None


def head(block: bytes) -> Head | None:
    """Status line and header fields; None where a block holds no response."""
    status = _STATUS.match(block)
    if status is None:
        return None
    blank = _BLANK_LINE.search(block, status.end() - 2, HEADER_BYTES)
    if blank is None:
        return None
    return Head(int(status[1]), fields(block[status.end() : blank.start()]), blank.end())


def response(block: bytes, found: Head, limits: Limits, place: str) -> Response | Fault:
    """The response with chunks joined and content encodings undone, or why it is too much."""
    headers = found.headers
    body = block[found.end :]
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = unchunked(body)
    else:
        length = headers.get("content-length", "")
        if length.isascii() and length.isdecimal() and len(length) < 16:
            body = body[: int(length)]
    names = [n.strip().lower() for n in headers.get("content-encoding", "").split(",") if n.strip()]
    if len(names) > MAX_ENCODINGS:
        return Fault(place, "bomb", f"{len(names)} content encodings")
    stored = max(1, len(body))
    is_partial = False
    for name in reversed(names):
        make = _ENCODINGS.get(name)
        if make is None:
            if name in ("identity", "utf-8", "none"):
                continue
            return Fault(place, "encoding", f"content encoding {name[:40]!r}")
        decoded = bytearray()
        try:
            for piece in make(body):
                decoded += piece
                if len(decoded) > FREE_BYTES and len(decoded) > limits.expansion * stored:
                    return Fault(place, "bomb", f"over {limits.expansion:g} times its stored size")
                if len(decoded) > limits.page_bytes:
                    return Fault(place, "too_large", f"over {limits.page_bytes} bytes decoded")
        except _CutError:
            is_partial = True
        except _BrokenError as error:
            if not decoded:
                # crawlers store decoded bodies under the header of the encoded one
                decoded += body
                if _is_encoded(name, body):
                    return Fault(place, "encoding", f"{name}: {error}")
            else:
                is_partial = True
        body = bytes(decoded)
    if len(body) > limits.page_bytes:
        return Fault(place, "too_large", f"{len(body)} bytes")
    mime, charset = media_type(headers.get("content-type"))
    return Response(found.status, mime, charset, body, is_partial)


def unchunked(body: bytes) -> bytes:
    """Join the chunks of a transfer; what is not chunked any more is returned as it is."""
    parts: list[bytes] = []
    at = 0
    while match := _CHUNK.match(body, at):
        size = int(match[1], 16)
        if size == 0:
            return b"".join(parts)
        end = match.end() + size
        parts.append(body[match.end() : end])
        at = end + 2 if body[end : end + 2] == b"\r\n" else end + 1
        if end >= len(body):
            return b"".join(parts)
    # damage behind good chunks: they are kept
    return b"".join(parts) if parts else body


class _CutError(Exception):
    """The encoded bytes end too early."""


class _BrokenError(Exception):
    """The bytes are not of this encoding, or not any more."""


def _inflate(body: bytes, wbits: int) -> Iterator[bytes]:
    rest = body
    while rest:
        stream = zlib.decompressobj(wbits)
        while not stream.eof:
            try:
                piece = stream.decompress(rest, PIECE_BYTES)
            except zlib.error as error:
                raise _BrokenError(str(error)) from None
            rest = stream.unconsumed_tail
            if not piece and not rest and not stream.eof:
                raise _CutError
            yield piece
        rest = stream.unused_data if wbits == 31 else b""
        if not rest.startswith(b"\x1f\x8b"):
            return


def _gzip(body: bytes) -> Iterator[bytes]:
    return _inflate(body, 31)


def _deflate(body: bytes) -> Iterator[bytes]:
    # RFC 9110 says zlib, many servers send raw deflate
    is_zlib = len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _inflate(body, 15 if is_zlib else -15)


def _zstd(body: bytes) -> Iterator[bytes]:
    maker = zstandard.ZstdDecompressor(max_window_size=1 << 23)  # the bound of RFC 9659
    try:
        with maker.stream_reader(io.BytesIO(body), read_across_frames=True) as stream:
            while piece := stream.read(PIECE_BYTES):
                yield piece
    except zstandard.ZstdError as error:
        raise _BrokenError(str(error)) from None


def _brotli(body: bytes) -> Iterator[bytes]:
    try:
        from fastwarc.stream_io import BrotliReader
    except ModuleNotFoundError:
        raise missing_extra("fastwarc", "curate") from None
    try:
        with BrotliReader(io.BytesIO(body)) as stream:
            while piece := stream.read(PIECE_BYTES):
                yield piece
    except (OSError, ValueError) as error:
        raise _BrokenError(str(error)) from None


_ENCODINGS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
    "br": _brotli,
}


def _is_encoded(name: str, body: bytes) -> bool:
    """Whether the bytes look encoded, so that passing them on would give rubbish."""
    magic = {"gzip": b"\x1f\x8b", "x-gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}.get(name)
    return body.startswith(magic) if magic else b"<" not in body[:4096]
