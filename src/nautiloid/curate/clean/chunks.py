"""Long texts in pieces that a model takes, cut where nothing breaks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from nautiloid.curate.text.spans import protect

Count = Callable[[str], int]

_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
_LINE = re.compile(r"\n")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=\S)")
_BLANK = re.compile(r"\s+")
_TOKEN = re.compile(r"(\ufdd0\d+\ufdd1)")


class Chunk(NamedTuple):
    """A piece of a text.

    Args:
        text: Without white space at its ends.
        separator: What stood between it and the next one.
        fits: Whether it is within the limit: a single formula or code block may not be.
    """

    text: str
    separator: str
    fits: bool


def estimate_tokens(text: str) -> int:
    """Tokens of a text without a tokenizer, rather too many than too few.

    English is 4 characters a token and TeX about 2.5; other scripts are counted by bytes.

    >>> estimate_tokens("word " * 100)
    167
    """
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // 3)


def split(text: str, limit: int, count: Count = estimate_tokens) -> list[Chunk]:
    """Pieces of at most `limit` tokens, as few as it takes, that join to the text again.

    Cut is at paragraphs; a paragraph above the limit is cut at lines, a line at sentences, a
    sentence at blanks, a word anywhere. Formulas and code are never cut.

    >>> [chunk.text for chunk in split("one two\\n\\nthree\\n\\nfour", 5)]
    ['one two', 'three\\n\\nfour']
    """
    protected = protect(text.strip())
    if count(protected.restore(protected.text)) <= limit:
        whole = protected.restore(protected.text)
        return [Chunk(whole, "", True)] if whole else []
    cutter = _Cutter(limit, lambda piece: count(protected.restore(piece)))
    chunks: list[Chunk] = []
    for piece, separator in cutter.pack(protected.text):
        restored = protected.restore(piece)
        chunks.append(Chunk(restored, separator, count(restored) <= limit))
    return chunks


class _Cutter:
    """Cuts protected text: formulas and code are single words."""

    levels = (_PARAGRAPH, _LINE, _SENTENCE, _BLANK)

    def __init__(self, limit: int, count: Count):
        self.limit = limit
        self.count = count

    def pack(self, text: str, level: int = 0) -> Iterator[tuple[str, str]]:
        """Pieces and what separates each from the next, filled up to the limit."""
        held, held_separator, held_tokens = "", "", 0
        for part, separator in _parts(self.levels[level], text):
            tokens = self.count(part)
            joined = self.count(held_separator) + tokens + held_tokens
            if held and joined <= self.limit:
                held, held_tokens = held + held_separator + part, joined
            else:
                if held:
                    yield held, held_separator
                held, held_tokens = part, tokens
                if tokens > self.limit:
                    pieces = list(self.smaller(part, level))
                    yield from pieces[:-1]
                    held = pieces[-1][0]
                    held_tokens = self.count(held)
            held_separator = separator
        if held:
            yield held, ""

    def smaller(self, part: str, level: int) -> Iterator[tuple[str, str]]:
        """A part above the limit, cut at the next level."""
        if level + 1 < len(self.levels):
            yield from self.pack(part, level + 1)
            return
        # One word: between its protected pieces, and anywhere in what is not protected.
        width = max(self.limit, 1)
        for piece in _TOKEN.split(part):
            if not piece:
                continue
            if _TOKEN.fullmatch(piece) or self.count(piece) <= self.limit:
                yield piece, ""
            else:
                for start in range(0, len(piece), width):
                    yield piece[start : start + width], ""


def _parts(separator: re.Pattern[str], text: str) -> Iterator[tuple[str, str]]:
    at = 0
    for match in separator.finditer(text):
        if match.start() > at:
            yield text[at : match.start()], match.group()
            at = match.end()
    if at < len(text):
        yield text[at:], ""
