"""What extractors make of one page, with the time they took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.page import Page
from nautiloid.curate.stage import Dropped, Extractor

# What a browser sets in reasonable time; longer texts are cut in the view, never in a run.
MAX_CHARS = 400_000


@dataclass(frozen=True)
class Extraction:
    """The answer of one extractor.

    Args:
        name: Of the extractor.
        text: Markdown; empty when the page was dropped or the extractor does not work here.
        formulas: `tex`, `display` and `encoding` of each formula, as far as the extractor says.
        facts: Title, language, time and whatever else is worth a glance.
        warning: Why there is no text, or what was cut; empty when all is well.
    """

    name: str
    text: str
    formulas: tuple[dict[str, Any], ...]
    facts: dict[str, str]
    warning: str = ""


def extract(page: Page | Document, names: Sequence[str]) -> list[Extraction]:
    """One extraction a name; a ready document is its own and only one.

    Raises:
        InputError: There is no extractor of that name.
    """
    if isinstance(page, Document):
        return [_shown("document", page, None)]
    found = [(name, Extractor.registry.get(name)) for name in names]
    return [_extract(page, name, extractor) for name, extractor in found]


def _extract(page: Page, name: str, extractor: Any) -> Extraction:
    start = time.perf_counter()
    try:
        fields = {f: True for f in ("keep_formulas",) if f in extractor.__dataclass_fields__}
        result = extractor(**fields).extract(page)
    except InputError as error:
        return Extraction(name, "", (), {}, str(error))
    seconds = time.perf_counter() - start
    if isinstance(result, Dropped):
        reason = f"dropped: {result.reason} {result.detail}".strip()
        return Extraction(name, "", (), {"time": f"{1000 * seconds:.1f} ms"}, reason)
    return _shown(name, result, seconds)


def _shown(name: str, document: Document, seconds: float | None) -> Extraction:
    facts = {
        key: str(document.meta[key]) for key in ("title", "language") if document.meta.get(key)
    }
    if seconds is not None:
        facts["time"] = f"{1000 * seconds:.1f} ms"
    text = document.text
    facts |= {"characters": f"{len(text):,}", "words": f"{len(text.split()):,}"}
    formulas = tuple(document.meta.get("formulas") or ())
    warning = ""
    if len(text) > MAX_CHARS:
        warning = f"the first {MAX_CHARS:,} of {len(text):,} characters are shown"
        text = text[: text.rfind("\n", 0, MAX_CHARS) + 1 or MAX_CHARS]
    return Extraction(name, text, formulas, facts, warning)
