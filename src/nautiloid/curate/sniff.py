"""What a payload is, where its label is missing or plainly wrong (after the WHATWG MIME standard)."""

from __future__ import annotations

import re

HTML = "text/html"
XHTML = "application/xhtml+xml"
TEXT = "text/plain"
NOTEBOOK = "application/x-ipynb+json"
BINARY = "application/octet-stream"
GIVEN = (HTML, XHTML, TEXT, NOTEBOOK)
"""What readers of archives give; other kinds are passed over."""

_HTML = re.compile(
    rb"\s{0,200}(?:<\?xml[^>]{0,300}>\s{0,50})?(?:<!--(?:[^-]|-(?!->)){0,800}-->\s{0,50}){0,3}"
    rb"<(?:!doctype\s{1,9}html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p)\b",
    re.IGNORECASE,
)
_XHTML = re.compile(rb"<(?:\w{1,20}:)?html[\s/>]|<!doctype\s{1,9}html", re.IGNORECASE)
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "application/pdf"),
    (b"%!PS", "application/postscript"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\x00", "application/x-xz"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"OggS\x00", "application/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"\x7fELF", "application/x-executable"),
    (b"MZ\x90\x00", "application/x-msdownload"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
)
_ANY_MAGIC = (b"RIFF", *(magic for magic, _ in _MAGIC))
CONTROLS = bytes({*range(0x20)} - {0x09, 0x0A, 0x0C, 0x0D, 0x1B})
_VAGUE = {None, BINARY, "unknown/unknown", "application/unknown", "*/*", "binary/octet-stream"}


def kind(content: bytes, mime: str | None, url: str | None = None) -> str:
    """One of the types that readers give (HTML, XHTML, text, notebook), or what it is instead.

    Args:
        content: The payload.
        mime: Type as declared.
        url: Its ending tells a notebook.

    >>> kind(b"<!DOCTYPE html><p>x", None), kind(b"%PDF-1.4", "text/html")
    ('text/html', 'application/pdf')
    """
    found = _magic(content)
    if found is not None:
        return found
    if mime in (HTML, TEXT):
        return mime
    if mime == XHTML or (mime is not None and mime.endswith("xml")):
        return XHTML if mime == XHTML or _XHTML.search(content, 0, 2048) else mime
    if mime is not None and mime.endswith("json"):
        return NOTEBOOK if mime == NOTEBOOK or _is_notebook(content, url) else mime
    if mime not in _VAGUE:
        return mime or BINARY
    if _is_notebook(content, url):
        return NOTEBOOK
    if _HTML.match(content[:4096].lstrip(b"\xef\xbb\xbf\xff\xfe\0")):
        return HTML
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return HTML if b"<\0" in content[:64] or b"\0<" in content[:64] else TEXT
    return BINARY if content[:1024].translate(None, CONTROLS) != content[:1024] else TEXT


def _magic(content: bytes) -> str | None:
    head = content[:16]
    if not head.startswith(_ANY_MAGIC):
        return None
    for magic, mime in _MAGIC:
        if head.startswith(magic):
            return mime
    return "image/webp" if head[8:12] == b"WEBP" else None


def _is_notebook(content: bytes, url: str | None) -> bool:
    if not content[:200].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return False
    is_named = url is not None and url.partition("?")[0].endswith(".ipynb")
    return (is_named or b'"nbformat"' in content) and b'"cells"' in content
