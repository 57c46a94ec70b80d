"""Repetition rules of Gopher (Rae et al. 2021, arXiv 2112.11446, table A1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.filters._bounds import above, check_fraction
from nautiloid.curate.stage import KEEP, Filter, Verdict, stage
from nautiloid.curate.text.prose import read_prose

_PARAGRAPHS = re.compile(r"\n{2,}")


@stage("gopher_repetition")
@dataclass(frozen=True, kw_only=True)
class GopherRepetition(Filter):
    """Keeps documents that do not say the same thing over and over.

    Lines and paragraphs are compared with their formulas but without code blocks; n-grams of words
    are counted with formulas and code masked. Reasons: `duplicate_paragraphs`,
    `duplicate_paragraph_chars`, `duplicate_lines`, `duplicate_line_chars`, `top_<n>_gram`,
    `duplicate_<n>_grams`.

    Args:
        max_paragraphs: Largest fraction of paragraphs that occurred before.
        max_paragraph_chars: Largest fraction of characters in them.
        max_lines: Largest fraction of lines that occurred before.
        max_line_chars: Largest fraction of characters in them.
        top_grams: For each n, the largest fraction of characters in the most frequent n-gram.
        all_grams: For each n, the largest fraction of characters in repeated n-grams.

    >>> GopherRepetition().keep(Document("1", "Each line\\n\\nis new\\n\\nand fresh"))
    Verdict(keep=True, reason='', detail='')
    >>> GopherRepetition().keep(Document("2", "again\\n\\nagain\\n\\nagain"))
    Verdict(keep=False, reason='duplicate_paragraphs', detail='duplicate paragraphs 0.6667 > 0.3')
    """

    max_paragraphs: float = 0.3
    max_paragraph_chars: float = 0.2
    max_lines: float = 0.3
    max_line_chars: float = 0.2
    top_grams: dict[int, float] = field(default_factory=lambda: {2: 0.20, 3: 0.18, 4: 0.16})
    all_grams: dict[int, float] = field(
        default_factory=lambda: {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
    )

    def __post_init__(self) -> None:
        kind = "gopher_repetition"
        check_fraction(
            kind,
            max_paragraphs=self.max_paragraphs,
            max_paragraph_chars=self.max_paragraph_chars,
            max_lines=self.max_lines,
            max_line_chars=self.max_line_chars,
        )
        for name, grams in (("top_grams", self.top_grams), ("all_grams", self.all_grams)):
            for n, bound in grams.items():
                if n < 1:
                    raise InputError(f"{kind}.{name}", n, "use n-grams of 1 word or more")
                check_fraction(kind, **{f"{name}.{n}": bound})

    def keep(self, document: Document) -> Verdict:
        """The first rule that is broken: paragraphs, lines, n-grams from short to long."""
        from nautiloid.curate.text.repeats import repeated_chars, top_chars, word_ids

        prose = read_prose(document.text)
        raw = prose.raw.strip()
        if not raw:
            return KEEP
        for unit, parts, most, most_chars in (
            ("paragraph", _PARAGRAPHS.split(raw), self.max_paragraphs, self.max_paragraph_chars),
            ("line", raw.split("\n"), self.max_lines, self.max_line_chars),
        ):
            elements = [part for part in parts if part.strip()]
            count, chars = _duplicates(elements)
            if count / len(elements) > most:
                share = count / len(elements)
                return above(f"duplicate_{unit}s", f"duplicate {unit}s", share, most)
            if chars / len(raw) > most_chars:
                what = f"characters in duplicate {unit}s"
                return above(f"duplicate_{unit}_chars", what, chars / len(raw), most_chars)
        if not prose.words:
            return KEEP
        ids, lengths = word_ids(prose.words)
        total = int(lengths.sum()) + len(lengths) - 1
        for n, bound in self.top_grams.items():
            share = top_chars(ids, lengths, n) / total
            if share > bound:
                return above(f"top_{n}_gram", f"characters in the top {n}-gram", share, bound)
        for n, bound in self.all_grams.items():
            share = repeated_chars(ids, lengths, n) / total
            if share > bound:
                what = f"characters in duplicate {n}-grams"
                return above(f"duplicate_{n}_grams", what, share, bound)
        return KEEP


def _duplicates(elements: Sequence[str]) -> tuple[int, int]:
    """Elements that occurred before, and their characters."""
    seen: set[str] = set()
    count = chars = 0
    for element in elements:
        if element in seen:
            count += 1
            chars += len(element)
        else:
            seen.add(element)
    return count, chars
