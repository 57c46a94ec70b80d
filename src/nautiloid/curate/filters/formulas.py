"""How mathematical a document is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.filters._bounds import above, below, check_fraction
from nautiloid.curate.stage import Dropped, Stage, stage
from nautiloid.curate.text.prose import read_prose


@stage("formulas")
@dataclass(frozen=True, kw_only=True)
class Formulas(Stage):
    """Keeps documents with enough mathematics and notes the count in `meta["formula_count"]`.

    Reasons: `few_formulas`, `little_mathematics`, `formulas_alone`.

    Args:
        min_count: Fewest formulas.
        min_share: Least fraction of characters inside formulas.
        max_share: Largest fraction; tables of formulas without a word lie above it.

    >>> Formulas().apply(Document("1", "If $a=b$ then $b=a$."), None).meta
    {'formula_count': 2}
    >>> Formulas(min_count=3).apply(Document("2", "If $a=b$ then $b=a$."), None).detail
    'formulas 2 < 3'
    """

    min_count: int = 1
    min_share: float = 0.0
    max_share: float = 1.0

    def __post_init__(self) -> None:
        check_fraction("formulas", min_share=self.min_share, max_share=self.max_share)
        if self.min_count < 0:
            raise InputError("formulas.min_count", self.min_count, "use 0 or more")
        if self.min_share > self.max_share:
            raise InputError("formulas.max_share", self.max_share, "use at least min_share")

    def apply(self, document: Document, tools: Any) -> Document | Dropped:
        """The document with its count, or the bound that it crosses."""
        prose = read_prose(document.text)
        share = prose.formula_chars / max(len(document.text), 1)
        verdict = None
        if prose.num_formulas < self.min_count:
            verdict = below("few_formulas", "formulas", prose.num_formulas, self.min_count)
        elif share < self.min_share:
            what = "characters in formulas"
            verdict = below("little_mathematics", what, share, self.min_share)
        elif share > self.max_share:
            verdict = above("formulas_alone", "characters in formulas", share, self.max_share)
        if verdict is not None:
            return Dropped(verdict.reason, verdict.detail, document)
        return replace(document, meta={**document.meta, "formula_count": prose.num_formulas})
