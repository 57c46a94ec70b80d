"""Our extractor: one parse, formulas out of every encoding, layout as Markdown, chrome left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nautiloid.core.errors import missing_extra
from nautiloid.core.types import Document
from nautiloid.curate.charset import decode
from nautiloid.curate.extract import _media as media
from nautiloid.curate.page import Page
from nautiloid.curate.stage import Dropped, Extractor, extractor


@extractor("dom")
@dataclass(frozen=True, kw_only=True)
class Dom(Extractor):
    """Text of HTML pages, plain text and notebooks.

    Args:
        keep_formulas: Store each formula as `{tex, display, encoding}` in `meta["formulas"]`.
        keep_chrome: Leave navigation, headers and footers in.
    """

    keep_formulas: bool = False
    keep_chrome: bool = False

    def extract(self, page: Page) -> Document | Dropped:
        """Markdown of the page; `empty` where there is none, `not_text` where it is no text at all."""
        try:
            from nautiloid.curate.extract._html import extract_html
        except ImportError:
            raise missing_extra("selectolax", "curate") from None
        text, charset = decode(page.content, page.charset, page.mime, page.url)
        kind = media.kind_of(page, text)
        if kind == "html":
            found = extract_html(text, page.url, keeps_all=self.keep_chrome)
            meta: dict[str, Any] = {
                "title": found.title,
                "language": found.language,
                "formula_count": len(found.formulas),
            }
            if found.licences:
                meta["licence_links"] = list(found.licences)
            if self.keep_formulas:
                meta["formulas"] = [
                    {
                        "tex": formula.tex,
                        "display": formula.is_display,
                        "encoding": formula.encoding,
                    }
                    for formula in found.formulas
                ]
            return media.document(page, found.text, charset, meta)
        return media.plain_document(page, text, charset, kind)
