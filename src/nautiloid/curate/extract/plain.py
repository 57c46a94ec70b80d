"""Text that is text already: plain files and notebooks."""

from __future__ import annotations

from dataclasses import dataclass

from nautiloid.core.types import Document
from nautiloid.curate.charset import decode
from nautiloid.curate.extract import _media as media
from nautiloid.curate.page import Page
from nautiloid.curate.stage import Dropped, Extractor, extractor


@extractor("plain")
@dataclass(frozen=True, kw_only=True)
class Plain(Extractor):
    """Plain text as it is, notebooks as Markdown; HTML is taken for text, tags included."""

    def extract(self, page: Page) -> Document | Dropped:
        """The text with line ends made equal; `not_text` where it is no text."""
        text, charset = decode(page.content, page.charset, page.mime, page.url)
        kind = media.kind_of(page, text)
        return media.plain_document(page, text, charset, "text" if kind == "html" else kind)
