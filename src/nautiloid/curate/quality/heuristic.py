"""A score from 0 to 5 by rules that anyone can check."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from nautiloid.curate.filters.fineweb import ENDS
from nautiloid.curate.text.prose import MASK, read_prose

_STOP_WORDS = frozenset(
    [
        "the",
        "be",
        "to",
        "of",
        "and",
        "that",
        "have",
        "with",
        "is",
        "are",
        "in",
        "for",
        "we",
        "this",
        "it",
    ]
)


@dataclass(frozen=True, kw_only=True)
class Heuristic:
    """Five properties of a text, each worth up to one point. Nothing here was learned.

    It tells running mathematical text from menus, scraps and lists. It does not see whether a text
    is right, clear or worth teaching: for that, train a linear scorer on labels or use a classifier.

    1. Length: none at 50 words or fewer, all at 500.
    2. Prose: stop words of English, all at one word in eight.
    3. Sentences: lines that end as sentences do, all at half of them.
    4. Mathematics and code: all at 5 % of the characters.
    5. Variety: different lines, none where a fifth repeats.

    >>> with Heuristic().open() as scorer:
    ...     scorer.score(["Home\\nAbout\\nHome", ""])
    [0.0, 0.0]
    """

    kind: Literal["heuristic"] = "heuristic"

    @contextmanager
    def open(self) -> Iterator[Heuristic]:
        """The scorer itself: nothing has to be loaded."""
        yield self

    def score(self, texts: Sequence[str]) -> list[float]:
        """One score a text."""
        return [round(sum(points(text)), 4) for text in texts]


def points(text: str) -> tuple[float, float, float, float, float]:
    """The five parts of the score, each from 0 to 1, in the order above."""
    prose = read_prose(text)
    if not prose.lines:
        return 0.0, 0.0, 0.0, 0.0, 0.0
    count = prose.num_words
    length = math.log(max(count, 1) / 50) / math.log(10)
    stops = sum(word.lower() in _STOP_WORDS for word in prose.words) / max(count, 1)
    ended = sum(
        is_continued or line.endswith((*ENDS, MASK, ":", ";"))
        for line, is_continued in zip(prose.lines, prose.before_display, strict=True)
    ) / len(prose.lines)
    technical = (prose.formula_chars + prose.code_chars) / max(len(text), 1)
    repeats = 1 - len(set(prose.lines)) / len(prose.lines)
    variety = (1 - repeats / 0.2) if count > 50 else 0.0
    parts = (length, stops * 8, ended * 2, technical / 0.05, variety)
    one, two, three, four, five = (min(max(part, 0.0), 1.0) for part in parts)
    return one, two, three, four, five
