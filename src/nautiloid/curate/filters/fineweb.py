"""Rules that FineWeb adds to those of Gopher and C4 (arXiv 2406.17557, section 3.5)."""

from __future__ import annotations

from dataclasses import dataclass

from nautiloid.core.types import Document
from nautiloid.curate.filters._bounds import above, below, check_fraction
from nautiloid.curate.stage import KEEP, Filter, Verdict, stage
from nautiloid.curate.text.prose import MASK, read_prose

ENDS = (".", "!", "?", '"', "'", "\u2019", "\u201d", "\u3002", "\uff01", "\uff1f", "\u2026")


@stage("fineweb")
@dataclass(frozen=True, kw_only=True)
class FineWeb(Filter):
    """Keeps documents of full lines: lists, menus and texts broken into scraps go.

    Formulas and code are masked. A line that ends with a formula, or that a display formula or a
    code block continues, counts as ended by punctuation. Reasons: `few_ended_lines`,
    `short_lines`, `duplicate_line_chars`, `many_lines`.

    Args:
        min_ended_lines: Least fraction of lines that end with punctuation.
        max_short_lines: Largest fraction of short lines.
        short_line_chars: Up to this length a line is short.
        max_duplicate_chars: Largest fraction of characters in lines that occurred before.
        max_lines_per_word: Most line breaks a word.

    >>> FineWeb().keep(Document("1", "A sentence of a fair length that ends where it should."))
    Verdict(keep=True, reason='', detail='')
    >>> FineWeb().keep(Document("2", "Home\\nAbout\\nContact"))
    Verdict(keep=False, reason='few_ended_lines', detail='lines with end marks 0 < 0.12')
    """

    min_ended_lines: float = 0.12
    max_short_lines: float = 0.67
    short_line_chars: int = 30
    max_duplicate_chars: float = 0.01
    max_lines_per_word: float = 0.3

    def __post_init__(self) -> None:
        check_fraction(
            "fineweb",
            min_ended_lines=self.min_ended_lines,
            max_short_lines=self.max_short_lines,
            max_duplicate_chars=self.max_duplicate_chars,
        )

    def keep(self, document: Document) -> Verdict:
        """The first rule that is broken, in the order of the settings."""
        prose = read_prose(document.text)
        lines = prose.lines
        if not lines:
            return KEEP
        ended = sum(
            is_continued or line.endswith(ENDS) or line.endswith(MASK)
            for line, is_continued in zip(lines, prose.before_display, strict=True)
        )
        share = ended / len(lines)
        if share < self.min_ended_lines:
            return below("few_ended_lines", "lines with end marks", share, self.min_ended_lines)
        # A formula takes one character here, though it is wide on the page: it makes no line short.
        short = sum(len(line) <= self.short_line_chars and MASK not in line for line in lines)
        if short / len(lines) > self.max_short_lines:
            share = short / len(lines)
            return above("short_lines", "short lines", share, self.max_short_lines)
        seen: set[str] = set()
        repeated = total = 0
        for line in prose.raw.split("\n"):
            line = line.strip()
            if line in seen:
                repeated += len(line)
            seen.add(line)
            total += len(line)
        if repeated / max(total, 1) > self.max_duplicate_chars:
            what = "characters in duplicate lines"
            return above(
                "duplicate_line_chars", what, repeated / max(total, 1), self.max_duplicate_chars
            )
        breaks = (len(lines) - 1) / max(prose.num_words, 1)
        if breaks > self.max_lines_per_word:
            return above("many_lines", "line breaks a word", breaks, self.max_lines_per_word)
        return KEEP
