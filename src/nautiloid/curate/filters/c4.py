"""Rules of C4 (Raffel et al. 2020, arXiv 1910.10683, section 2.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.filters._bounds import below
from nautiloid.curate.filters.fineweb import ENDS
from nautiloid.curate.stage import Dropped, Stage, stage
from nautiloid.curate.text.spans import LONE_SENTINEL, protect

_CITATION = re.compile(r"\[(?:\d{0,4}|edit|citation needed)\](?!\()")
_SENTENCE = re.compile(r"[.!?]+[\"')\]]*(?:\s|$)")
_STRUCTURE = re.compile(r"\s*(?:#{1,6}\s|[-*+\u2022]\s|\d{1,4}[.)]\s|\||>|!\[|\[\^)")
_CLOSERS = (":", ";", ")", "]", "\ufdd1")  # the last one closes a formula or code in the line
_POLICY = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)


@stage("c4")
@dataclass(frozen=True, kw_only=True)
class C4(Stage):
    """Removes lines of prose that are no sentences, then documents with too few of them.

    Two settings differ from the source because they destroy mathematics. `drops_braces` is off:
    `{` is in almost every formula, and FineMath had to win back what this rule had removed. Line
    rules judge lines of prose alone: headings, list items, tables, quotations, formulas and code
    always stay. Reasons: `lorem_ipsum`, `curly_bracket`, `few_sentences`, `empty`.

    Args:
        needs_end_mark: Remove lines without punctuation at their end (FineWeb leaves this off). A
            line that ends with a formula, or goes on below in a formula or in small letters, has one.
        min_line_words: Remove lines with fewer words; 0 keeps them.
        max_word_chars: Remove lines with a longer word, in characters; 0 keeps them.
        drops_javascript: Remove lines that say `javascript`.
        drops_policies: Remove lines about cookies and terms of use.
        drops_citations: Remove `[12]`, `[edit]` and `[citation needed]` from prose.
        drops_lorem_ipsum: Drop documents of filler text.
        drops_braces: Drop documents with `{` outside formulas and code.
        min_sentences: Fewest sentences of a document, all lines counted; 0 does not look.

    >>> text = "One is odd. Two is even. Four is so too.\\n\\nmenu\\n\\nFive is. So are $3$ and $7$."
    >>> C4().apply(Document("1", text), None).text
    'One is odd. Two is even. Four is so too.\\n\\nFive is. So are $3$ and $7$.'
    >>> C4().apply(Document("2", "Too short to be of use."), None).detail
    'sentences 1 < 5'
    """

    needs_end_mark: bool = True
    min_line_words: int = 3
    max_word_chars: int = 1_000
    drops_javascript: bool = True
    drops_policies: bool = True
    drops_citations: bool = True
    drops_lorem_ipsum: bool = True
    drops_braces: bool = False
    min_sentences: int = 5

    def __post_init__(self) -> None:
        for name in ("min_line_words", "max_word_chars", "min_sentences"):
            if getattr(self, name) < 0:
                raise InputError(f"c4.{name}", getattr(self, name), "use 0 or more")

    def apply(self, document: Document, tools: Any = None) -> Document | Dropped:
        """The document with lines removed, or the rule that it breaks."""
        if self.drops_lorem_ipsum and "lorem ipsum" in document.text.lower():
            return Dropped("lorem_ipsum", "the text holds 'lorem ipsum'", document)
        protected = protect(document.text)
        if self.drops_braces and "{" in protected.text:
            return Dropped("curly_bracket", "'{' outside formulas and code", document)
        lines = protected.text.split("\n")
        kept: list[str] = []
        sentences = 0
        for index, line in enumerate(lines):
            if not line.strip():
                if kept and kept[-1].strip():
                    kept.append("")
                continue
            is_prose = not _STRUCTURE.match(line) and not LONE_SENTINEL.fullmatch(line)
            is_continued = _is_continued(lines, index)
            if is_prose and not self._keeps(line.strip(), is_continued):
                continue
            if self.drops_citations and "[" in line:
                line = _CITATION.sub("", line).rstrip()
            kept.append(line)
            sentences += max(len(_SENTENCE.findall(line)), int(is_prose and not is_continued))
        if sentences < self.min_sentences:
            verdict = below("few_sentences", "sentences", sentences, self.min_sentences)
            return Dropped(verdict.reason, verdict.detail, document)
        text = protected.restore("\n".join(kept)).strip("\n")
        if not text.strip():
            return Dropped("empty", "no line is left", document)
        return replace(document, text=text)

    def _keeps(self, line: str, is_continued: bool) -> bool:
        """Whether a line of prose stays."""
        if self.needs_end_mark and not is_continued:
            is_cut_off = line.endswith(("...", "\u2026"))
            if is_cut_off or not line.endswith((*ENDS, *_CLOSERS)):
                return False
        words = line.split()
        if len(words) < self.min_line_words:
            return False
        if self.max_word_chars and max(map(len, words)) > self.max_word_chars:
            return False
        lowered = line.lower()
        if self.drops_javascript and "javascript" in lowered:
            return False
        return not (self.drops_policies and any(words in lowered for words in _POLICY))


def _is_continued(lines: Sequence[str], index: int) -> bool:
    """Whether the sentence goes on below: in a formula, in code, or behind a line break."""
    for distance, line in enumerate(lines[index + 1 : index + 3]):
        if line.strip():
            starts = line.lstrip()[0]
            is_same_paragraph = distance == 0 and (starts.islower() or starts == "\ufdd0")
            return is_same_paragraph or LONE_SENTINEL.fullmatch(line) is not None
    return False
