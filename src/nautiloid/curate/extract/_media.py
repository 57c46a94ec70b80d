"""What a page is, HTML or another text, and the document that comes of it."""

from __future__ import annotations

import re
from typing import Any, Literal

from nautiloid.core.types import Document
from nautiloid.curate.extract import _notebook as notebook
from nautiloid.curate.page import Page
from nautiloid.curate.stage import Dropped

Media = Literal["html", "text", "notebook", "none"]

_HTML_TYPES = frozenset(("text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml"))
_MARKUP = re.compile(
    r"(?i)<(?:!doctype\s+html|html|head|body|title|meta|div|span|p|br|table|h[1-6]|script|style|a|ul|ol|pre|center|font|math)\b"
)
_HEAD_CHARS = 4_096
_NOT_TEXT = (
    "image/",
    "audio/",
    "video/",
    "font/",
    "application/pdf",
    "application/zip",
    "application/gzip",
)
_BINARY_SHARE = 0.02
_MAGIC = (
    b"%PDF-", b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"PK\x03\x04", b"\x1f\x8b", b"\x7fELF", b"\xfd7zXZ",
    b"BZh", b"RIFF", b"OggS", b"ID3", b"wOFF", b"\x28\xb5\x2f\xfd", b"MZ\x90", b"\xca\xfe\xba\xbe", b"%!PS",
)  # fmt: skip


def kind_of(page: Page, text: str) -> Media:
    """How to read a page: by its declared type, and by its beginning where that says little."""
    mime = page.mime or ""
    if mime.startswith(_NOT_TEXT) or page.content.startswith(_MAGIC):
        return "none"
    head = text[:_HEAD_CHARS]
    if mime in _HTML_TYPES:
        return "html" if "<" in text or not _is_binary(head) else "none"
    if notebook.is_notebook(page, text):
        return "notebook"
    start = head.lstrip("\ufeff \t\r\n")
    if mime.startswith("text/"):
        # Sources of C++ and mail hold tags, too: a page says so in its first word.
        return "html" if re.match(r"(?i)<(?:!doctype\s+html|html)\b", start) else "text"
    if _is_binary(head):
        return "none"
    return "html" if start.startswith("<") and _MARKUP.search(head) else "text"


def _is_binary(head: str) -> bool:
    strange = sum(map(head.count, ("\ufffd", *map(chr, range(1, 9)))))
    return strange > _BINARY_SHARE * len(head)


def document(page: Page, text: str, charset: str, found: dict[str, Any]) -> Document | Dropped:
    """The document of a page; `empty` where no text was found."""
    meta: dict[str, Any] = {**page.meta, "charset": charset}
    if page.url is not None:
        meta["url"] = page.url
    if page.mime is not None:
        meta["mime"] = page.mime
    # What the reader knew stays where the page itself says nothing.
    meta.update({key: value for key, value in found.items() if value is not None})
    made = Document(page.id, text, licence=page.licence, meta=meta)
    return made if text.strip() else Dropped("empty", "no text in the page", made)


def plain_document(page: Page, text: str, charset: str, kind: Media) -> Document | Dropped:
    """The document of a page that is no HTML; `not_text` for images, `bad_notebook` for broken ones."""
    if kind == "none":
        return Dropped("not_text", page.mime or "undecodable bytes")
    if kind == "notebook":
        found = notebook.markdown(text)
        if found is None:
            return Dropped("bad_notebook", "no JSON object with cells")
        return document(page, found.text, charset, {"title": found.title})
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0c", "\n").split("\n")
    return document(page, "\n".join(line.rstrip() for line in lines).strip("\n"), charset, {})
