"""Bounds of a document's length."""

from __future__ import annotations

from dataclasses import dataclass

from nautiloid.core.types import Document
from nautiloid.curate.filters._bounds import above, below, check_order
from nautiloid.curate.stage import KEEP, Filter, Verdict, stage
from nautiloid.curate.text.prose import read_prose


@stage("length")
@dataclass(frozen=True, kw_only=True)
class Length(Filter):
    """Keeps documents of a certain length. Reasons: `empty`, `too_short`, `too_long`.

    Args:
        min_chars: Fewest characters, formulas and code included.
        max_chars: Most characters; None is no bound. Nemotron-CC-Math drops above 900,000.
        min_words: Fewest words, a formula counted as one; 0 does not look.

    >>> Length(min_chars=5).keep(Document("1", "ab"))
    Verdict(keep=False, reason='too_short', detail='characters 2 < 5')
    >>> Length(min_chars=5).keep(Document("1", "  \\n"))
    Verdict(keep=False, reason='empty', detail='no text')
    """

    min_chars: int = 100
    max_chars: int | None = 900_000
    min_words: int = 0

    def __post_init__(self) -> None:
        check_order("length", "min_chars", self.min_chars, "max_chars", self.max_chars)
        check_order("length", "min_words", self.min_words, "", None)

    def keep(self, document: Document) -> Verdict:
        """Characters first, then words."""
        text = document.text
        if not text or text.isspace():
            return Verdict(False, "empty", "no text")
        if len(text) < self.min_chars:
            return below("too_short", "characters", len(text), self.min_chars)
        if self.max_chars is not None and len(text) > self.max_chars:
            return above("too_long", "characters", len(text), self.max_chars)
        if self.min_words and read_prose(text).num_words < self.min_words:
            return below("too_short", "words", read_prose(text).num_words, self.min_words)
        return KEEP
