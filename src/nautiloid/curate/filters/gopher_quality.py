"""Quality rules of Gopher (Rae et al. 2021, arXiv 2112.11446, section A.1.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.filters._bounds import above, below, check_fraction, check_order
from nautiloid.curate.stage import KEEP, Filter, Verdict, stage
from nautiloid.curate.text.prose import read_prose

_LETTER = re.compile(r"[^\W\d_]")
_BULLETS = ("-", "*", "+", "\u2022", "\u2023", "\u25cf", "\u25aa", "\u25e6")
_ELLIPSES = ("...", "\u2026")


@stage("gopher_quality")
@dataclass(frozen=True, kw_only=True)
class GopherQuality(Filter):
    """Keeps documents whose words look like prose; formulas, code and Markdown marks do not count.

    Words are runs of non-blanks; a formula counts as one word for the length and as none for the
    other rules. The list of stop words is English: put `language` in front, or give your own.
    Reasons: `few_words`, `many_words`, `short_words`, `long_words`, `symbols`, `bullets`,
    `ellipses`, `few_alphabetic`, `few_stop_words`.

    Args:
        min_words: Fewest words of a document.
        max_words: Most words.
        min_word_chars: Least mean length of a word, in characters.
        max_word_chars: Largest mean length of a word.
        max_symbol_ratio: Most `#` or `...` a word, each counted apart.
        max_bullet_lines: Largest fraction of lines that start with a bullet.
        max_ellipsis_lines: Largest fraction of lines that end with an ellipsis.
        min_alphabetic: Least fraction of words with a letter in them.
        min_stop_words: Fewest different words of `stop_words`.
        stop_words: In lower case.

    >>> prose = "The proof of the lemma is short and we have it with a picture to help. " * 5
    >>> GopherQuality().keep(Document("1", prose))
    Verdict(keep=True, reason='', detail='')
    >>> GopherQuality().keep(Document("2", "Buy now"))
    Verdict(keep=False, reason='few_words', detail='words 2 < 50')
    """

    min_words: int = 50
    max_words: int = 100_000
    min_word_chars: float = 3.0
    max_word_chars: float = 10.0
    max_symbol_ratio: float = 0.1
    max_bullet_lines: float = 0.9
    max_ellipsis_lines: float = 0.3
    min_alphabetic: float = 0.8
    min_stop_words: int = 2
    stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")

    def __post_init__(self) -> None:
        kind = "gopher_quality"
        check_order(kind, "min_words", self.min_words, "max_words", self.max_words)
        check_order(
            kind, "min_word_chars", self.min_word_chars, "max_word_chars", self.max_word_chars
        )
        check_fraction(
            kind,
            max_bullet_lines=self.max_bullet_lines,
            max_ellipsis_lines=self.max_ellipsis_lines,
            min_alphabetic=self.min_alphabetic,
        )
        if self.min_stop_words > len(self.stop_words):
            raise InputError(
                f"{kind}.min_stop_words", self.min_stop_words, "use at most len(stop_words)"
            )

    def keep(self, document: Document) -> Verdict:
        """The first rule that is broken, in the order of the settings."""
        prose = read_prose(document.text)
        words, lines = prose.words, prose.lines
        if prose.num_words < self.min_words:
            return below("few_words", "words", prose.num_words, self.min_words)
        if prose.num_words > self.max_words:
            return above("many_words", "words", prose.num_words, self.max_words)
        if not words:
            return KEEP  # formulas and code alone: nothing here to judge
        mean = sum(map(len, words)) / len(words)
        if mean < self.min_word_chars:
            return below("short_words", "characters a word", mean, self.min_word_chars)
        if mean > self.max_word_chars:
            return above("long_words", "characters a word", mean, self.max_word_chars)
        ellipses = sum(prose.text.count(mark) for mark in _ELLIPSES)
        symbols = max(prose.text.count("#"), ellipses) / len(words)
        if symbols > self.max_symbol_ratio:
            return above("symbols", "symbols a word", symbols, self.max_symbol_ratio)
        bullets = sum(line.startswith(_BULLETS) for line in lines) / len(lines)
        if bullets > self.max_bullet_lines:
            return above("bullets", "lines with bullets", bullets, self.max_bullet_lines)
        ends = sum(line.endswith(_ELLIPSES) for line in lines) / len(lines)
        if ends > self.max_ellipsis_lines:
            return above("ellipses", "lines with ellipses", ends, self.max_ellipsis_lines)
        has_letter = _LETTER.search
        alphabetic = sum(1 for word in words if has_letter(word)) / len(words)
        if alphabetic < self.min_alphabetic:
            return below("few_alphabetic", "words with letters", alphabetic, self.min_alphabetic)
        if self.min_stop_words:
            found = len({word.lower() for word in words}.intersection(self.stop_words))
            if found < self.min_stop_words:
                return below("few_stop_words", "stop words", found, self.min_stop_words)
        return KEEP
