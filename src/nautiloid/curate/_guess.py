"""The detector of Firefox (chardetng) on what tells most of a page."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from nautiloid.core.errors import missing_extra
from nautiloid.curate._labels import LABELS, NAMES, SCRIPTS

if TYPE_CHECKING:
    from chardetng_py import EncodingDetector

TELLING_BYTES = 1 << 12
PIECE_BYTES = 1 << 9
LONGEST_BYTES = 1 << 16  # where no byte is safe to cut at
_ASCII_BYTES = bytes(range(128))
_SYMBOL_BYTES = bytes({*range(0x80, 0xC0), 0xD7, 0xF7})  # of windows-1252
_HIGH = re.compile(rb"[\x80-\xff]")
_SAFE = re.compile(rb"[\x00-\x2f\x3a-\x3f]")


def guess(content: bytes, url: str | None) -> str:
    """Standard name of the likeliest character set that is not UTF-8; `url` gives a hint."""
    detector = _detector()()
    # not marked as the last piece: a page cut inside a character is no evidence against its encoding
    detector.feed(_telling_part(content), last=False)
    found = detector.guess(tld=_tld(url), allow_utf8=False).lower()
    name = LABELS.get(found) or NAMES[found]
    if name not in SCRIPTS and not content.translate(None, _ASCII_BYTES + _SYMBOL_BYTES):
        return "windows-1252"  # signs such as degrees and quotes only, no letters to tell by
    return name


def _telling_part(content: bytes) -> bytes:
    """Pieces around non-ASCII bytes: the detector need not read all of the markup.

    Pieces end at bytes that are never the second half of a character.
    """
    if len(content) <= TELLING_BYTES:
        return content
    parts: list[bytes] = []
    size = end = 0
    found = _HIGH.search(content)
    while found and size < TELLING_BYTES:
        start = max(end, found.start() - 32)
        safe = _SAFE.search(content, start + PIECE_BYTES, start + LONGEST_BYTES)
        end = safe.start() if safe else start + LONGEST_BYTES
        parts.append(content[start:end])
        size += end - start
        found = _HIGH.search(content, end)
    return b"\n".join(parts)


def _tld(url: str | None) -> bytes | None:
    if url is None:
        return None
    host = re.match(r"[a-z][a-z0-9+.-]{0,20}://(?:[^/?#@]{0,200}@)?([^/?#:]{1,255})", url.lower())
    last = host[1].rsplit(".", 1)[-1] if host else ""
    return last.encode() if last.isascii() and last.isalpha() else None


@lru_cache(maxsize=1)
def _detector() -> type[EncodingDetector]:
    try:
        from chardetng_py import EncodingDetector
    except ModuleNotFoundError:
        raise missing_extra("chardetng_py", "curate") from None
    return EncodingDetector
