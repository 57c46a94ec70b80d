"""From a record of an archive to the page it holds."""

from __future__ import annotations

from typing import Any

from nautiloid.curate import sniff
from nautiloid.curate.page import Fault, Page
from nautiloid.curate.reader import Limits
from nautiloid.curate.warc import http
from nautiloid.curate.warc.records import Record

BLOCK_SLACK_BYTES = 1 << 16
"""A record may be larger than its page by an HTTP header."""


def item(
    record: Record, name: str, limits: Limits, licence: str | None = None
) -> Page | Fault | None:
    """What a record holds; None where it holds nothing for a corpus.

    Args:
        record: A whole record.
        name: Name of the archive.
        limits: Bounds of the payload.
        licence: Licence of the archive.
    """
    headers = record.headers
    type_ = headers["warc-type"].lower()
    if type_ not in ("response", "resource", "conversion"):
        return None
    place = f"{name}@{record.place}"
    url = _url(headers.get("warc-target-uri"))
    meta: dict[str, Any] = {"warc_filename": name}
    if found := headers.get("warc-record-id"):
        meta["warc_record_id"] = found.strip("<>")
    if found := headers.get("warc-date"):
        meta["date"] = found
    if found := headers.get("warc-truncated"):
        meta["truncated"] = found
    if type_ == "response" and _is_http(headers, record.block):
        head = http.head(record.block)
        if head is None:
            return Fault(place, "bad_http", "no status line or no end of the header")
        if not 200 <= head.status < 300:
            return None
        if head.mime is not None and not _may_hold_text(head.mime):
            return None
        found = http.response(record.block, head, limits, place)
        if isinstance(found, Fault):
            return found
        if found.is_partial:
            meta.setdefault("truncated", "encoding")
        content, mime, charset = found.content, found.mime, found.charset
    else:
        content = record.block
        mime, charset = http.media_type(headers.get("content-type"))
        if len(content) > limits.page_bytes:
            return Fault(place, "too_large", f"{len(content)} bytes")
    if mime is None:
        mime = http.media_type(headers.get("warc-identified-payload-type"))[0]
    if not content or content.isspace():
        return None
    if type_ == "conversion":
        return Page(place, content, url, sniff.TEXT, charset or "utf-8", licence, meta)
    kind = sniff.kind(content, mime, url)
    return Page(place, content, url, kind, charset, licence, meta) if kind in sniff.GIVEN else None


def _url(value: str | None) -> str | None:
    # some writers of WARC/1.0 put the address in angle brackets
    return value.strip("<>") if value else None


def _is_http(headers: dict[str, str], block: bytes) -> bool:
    return block[:5].upper() == b"HTTP/" or "http" in headers.get("content-type", "").lower()


def _may_hold_text(mime: str) -> bool:
    """Whether a payload is worth decoding; declared types of text, markup, JSON and vague ones."""
    return (
        mime in (sniff.HTML, sniff.XHTML, sniff.TEXT, sniff.BINARY)
        or mime.endswith(("xml", "json"))
        or mime.split("/")[1] in ("unknown", "*")
    )
