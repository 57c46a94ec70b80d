"""The prose of a document: its words and lines with formulas, code and Markdown marks taken out.

The statistics of Gopher, C4 and FineWeb were made for running text. A page of mathematics or a
listing breaks them all (braces, short lines, few letters), so they are taken over what is left
when formulas and code are masked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from nautiloid.curate.text.spans import cut, find_spans

MASK = "\ufffc"
"""Stands for a formula or a piece of code (OBJECT REPLACEMENT CHARACTER)."""

_HEADING = re.compile(r"^ {0,3}#{1,6}(?=\s)", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*\|?[ \t]*:?-{2,}[-:| \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Prose:
    """What is left of a document for word statistics.

    Args:
        text: Formulas and code masked, heading marks and table bars removed.
        raw: The document without code blocks, formulas still in it: for comparing lines.
        lines: Lines of `text` with words in them, stripped.
        before_display: For each line, whether a display formula or code block follows it.
        words: Runs of non-blanks of `text` without masked ones.
        num_masked: Words that hold a masked formula or code.
        num_formulas: Formulas of both kinds.
        formula_chars: Characters of the formulas without delimiters.
        code_chars: Characters of code blocks and code in lines.
    """

    text: str
    raw: str
    lines: tuple[str, ...]
    before_display: tuple[bool, ...]
    words: tuple[str, ...]
    num_masked: int
    num_formulas: int
    formula_chars: int
    code_chars: int

    @property
    def num_words(self) -> int:
        """Words, a word with a formula or code in it counted as one."""
        return len(self.words) + self.num_masked


# Filters in a row ask for the same document: the last ones are kept, by identity of the text.
@lru_cache(maxsize=2)
def read_prose(text: str) -> Prose:
    """Take the prose out of Markdown text.

    >>> prose = read_prose("# On $x$\\n\\nLet $x$ be real:\\n$$x^2$$\\n")
    >>> prose.lines, prose.before_display, prose.words, prose.num_words
    (('On \ufffc', 'Let \ufffc be real:'), (False, True), ('On', 'Let', 'be', 'real:'), 6)
    """
    spans = find_spans(text)
    block = f"\n{MASK}\n"
    masked = cut(text, spans, {"inline": MASK, "code": MASK, "display": block, "fence": block})
    if "#" in masked:
        masked = _HEADING.sub("", masked)
    if "|" in masked:
        masked = _RULE.sub("", masked).replace("|", " ")
    lines: list[str] = []
    before: list[bool] = []
    for line in masked.split("\n"):
        line = line.strip()
        if line == MASK:
            if before:
                before[-1] = True
        elif line:
            lines.append(line)
            before.append(False)
    words = [word for line in lines for word in line.split()]
    num_masked = 0
    if spans:
        total = len(words)
        words = [word for word in words if MASK not in word]
        num_masked = total - len(words)
    formulas = [span for span in spans if span.is_formula]
    code = [span for span in spans if not span.is_formula]
    fences = [span for span in code if span.kind == "fence"]
    return Prose(
        text=masked,
        raw=cut(text, fences, {"fence": "\n"}),
        lines=tuple(lines),
        before_display=tuple(before),
        words=tuple(words),
        num_masked=num_masked,
        num_formulas=len(formulas),
        formula_chars=sum(s.stop - s.start - s.skip - s.tail for s in formulas),
        code_chars=sum(s.stop - s.start - s.skip - s.tail for s in code),
    )
