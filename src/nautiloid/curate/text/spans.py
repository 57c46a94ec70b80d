r"""Where formulas and code lie in Markdown text: one linear scan, whatever the text holds.

Fences follow CommonMark, `$...$` follows pandoc: a blank behind the opening dollar, a blank before
the closing one or a digit behind it make it money. `\(...\)`, `\[...\]` and `\begin{...}` are
found on request, for text that is not ours yet.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

SpanKind = Literal["inline", "display", "fence", "code"]

MAX_FORMULA_CHARS = 20_000
"""Longer spans between delimiters are taken for text: two stray dollars must not hide a page."""

# Each branch starts with a plain character, outside of groups: the engine then skips all others.
_OURS = r"""\n(?:(?P<fence>[ ]{0,3}(?:`{3,}|~{3,})[^\n]*)|(?P<blank>(?=[ \t]*\n)))
          | `(?P<tick>`*)
          | \$(?P<dollar>\$?)
          | \\(?:[\\$`]%s)"""
_PAIRS = r"|(?P<pair>[()\[\]])|(?P<env>(?:begin|end)\{[A-Za-z]{1,20}\*?\})"
_OWN_EVENT = re.compile(_OURS % "", re.VERBOSE)
_ANY_EVENT = re.compile(_OURS % _PAIRS, re.VERBOSE)
_FENCE = re.compile(r"[ ]{0,3}(?P<mark>`{3,}|~{3,})(?P<info>[^\n]*)")
_ENVIRONMENTS = frozenset(
    f"{name}{star}"
    for name in ("equation", "align", "gather", "multline", "eqnarray", "alignat", "flalign")
    for star in ("", "*")
) | {"displaymath", "math"}


class Span(NamedTuple):
    """A formula or a piece of code: `text[start:stop]` with its delimiters.

    Args:
        start: First character of the opening delimiter.
        stop: One behind the closing delimiter.
        kind: `inline` and `display` formulas, `fence` a code block, `code` code inside a line.
        skip: Characters of the opening delimiter.
        tail: Characters of the closing delimiter; 0 for a fence that the text ends in.
    """

    start: int
    stop: int
    kind: SpanKind
    skip: int
    tail: int

    def inner(self, text: str) -> str:
        """What the delimiters enclose."""
        return text[self.start + self.skip : self.stop - self.tail]

    @property
    def is_formula(self) -> bool:
        """Whether it is mathematics and not code."""
        return self.kind in ("inline", "display")


class _Event(NamedTuple):
    start: int
    stop: int
    kind: str
    text: str


# Stages in a row ask for the same text: the last ones are kept, by identity of the text.
@lru_cache(maxsize=4)
def find_spans(text: str, *, is_foreign: bool = False) -> tuple[Span, ...]:
    r"""Formulas and code of a text, in order, never overlapping.

    Args:
        text: Markdown.
        is_foreign: Also take `\(`, `\[` and display environments for delimiters.

    >>> [(s.kind, s.inner("a $x$ `y`")) for s in find_spans("a $x$ `y`")]
    [('inline', 'x'), ('code', 'y')]
    >>> find_spans("from $5 to $6 or $ 7$")
    ()
    """
    if not any(mark in text for mark in ("$", "`", "~~~", *(("\\",) if is_foreign else ()))):
        return ()
    return tuple(_Scan(text, is_foreign).run())


def cut(text: str, spans: Sequence[Span], fill: dict[SpanKind, str]) -> str:
    """The text with every span replaced by what `fill` holds for its kind."""
    if not spans:
        return text
    pieces: list[str] = []
    at = 0
    for span in spans:
        pieces.append(text[at : span.start])
        pieces.append(fill[span.kind])
        at = span.stop
    pieces.append(text[at:])
    return "".join(pieces)


_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_SENTINEL = re.compile(f"{_OPEN}(\\d+){_CLOSE}")
LONE_SENTINEL = re.compile(f"\\s*{_OPEN}\\d+{_CLOSE}\\s*")
"""A line that is one protected span and nothing else."""


class Protected(NamedTuple):
    """Text whose formulas and code are out of reach: each is one token of noncharacters.

    Args:
        text: The text with tokens; a formula or code block of several lines is on one line.
        pieces: What the tokens stand for, delimiters included.
        spans: Where the pieces were.
    """

    text: str
    pieces: tuple[str, ...]
    spans: tuple[Span, ...]

    def restore(self, text: str) -> str:
        """Put the pieces back into an edited `text`."""
        if not self.pieces:
            return text
        return _SENTINEL.sub(lambda match: self.pieces[int(match[1])], text)


def protect(text: str, *, is_foreign: bool = False) -> Protected:
    """Replace formulas and code by tokens, so that what edits prose cannot touch them.

    >>> kept = protect("two  $a  b$")
    >>> kept.restore(kept.text.replace("  ", " "))
    'two $a  b$'
    """
    if _OPEN in text or _CLOSE in text:  # noncharacters: never part of a text
        text = text.replace(_OPEN, "").replace(_CLOSE, "")
    spans = find_spans(text, is_foreign=is_foreign)
    pieces: list[str] = []
    parts: list[str] = []
    at = 0
    for index, span in enumerate(spans):
        parts += (text[at : span.start], f"{_OPEN}{index}{_CLOSE}")
        pieces.append(text[span.start : span.stop])
        at = span.stop
    parts.append(text[at:])
    return Protected("".join(parts), tuple(pieces), spans)


class _Scan:
    def __init__(self, text: str, is_foreign: bool):
        self.text = text
        self.events: list[_Event] = []
        start = 0
        first = _FENCE.match(text)
        if first is not None:  # no line feed comes before it
            start = first.end()
            self.events.append(_Event(0, start, "fence", first.group()))
        pattern = _ANY_EVENT if is_foreign else _OWN_EVENT
        for match in pattern.finditer(text, start):
            kind = match.lastgroup
            if kind == "fence":
                event = _Event(match.start() + 1, match.end(), kind, match.group()[1:])
                self.events.append(event)
            elif kind is not None:
                self.events.append(_Event(match.start(), match.end(), kind, match.group()))
        self.spans: list[Span] = []
        # Where each closing delimiter occurs, so that an opening one finds its partner at once.
        self.places: dict[str, list[int]] = {}
        for index, event in enumerate(self.events):
            key = "blank" if event.kind == "blank" else event.text
            if event.kind != "fence":
                self.places.setdefault(key, []).append(index)

    def run(self) -> list[Span]:
        index = 0
        while index < len(self.events):
            event = self.events[index]
            step = None
            if event.kind == "fence":
                step = self.fence(index)
            elif event.kind == "tick":
                step = self.tick(index)
            elif event.kind == "dollar":
                step = self.dollar(index)
            elif event.kind in ("pair", "env"):
                step = self.foreign(index)
            index = index + 1 if step is None else step
        return self.spans

    def after(self, key: str, index: int) -> int | None:
        """Index of the next event of that key behind `index`."""
        found = self.places.get(key, ())
        place = bisect_right(found, index)
        return found[place] if place < len(found) else None

    def close(
        self, index: int, end: int | None, kind: SpanKind, *, in_paragraph: bool
    ) -> int | None:
        """Add the span between two events if nothing forbids it, and return the index behind it."""
        if end is None:
            return None
        first, last = self.events[index], self.events[end]
        if kind != "code" and last.start - first.stop > MAX_FORMULA_CHARS:
            return None
        if in_paragraph:
            blank = self.after("blank", index)
            if blank is not None and blank < end:
                return None
        if not self.text[first.stop : last.start].strip():
            return None
        self.spans.append(
            Span(first.start, last.stop, kind, first.stop - first.start, last.stop - last.start)
        )
        return end + 1

    def fence(self, index: int) -> int | None:
        event = self.events[index]
        opening = _FENCE.match(event.text)
        assert opening is not None
        mark = opening["mark"]
        if mark[0] == "`" and "`" in opening["info"]:
            return self.tick_in_fence(index)
        skip = event.stop - event.start + 1
        for end in range(index + 1, len(self.events)):
            last = self.events[end]
            if last.kind != "fence":
                continue
            closing = _FENCE.match(last.text)
            assert closing is not None
            is_same = closing["mark"][0] == mark[0] and len(closing["mark"]) >= len(mark)
            if is_same and not closing["info"].strip():
                tail = min(last.stop - last.start + 1, last.stop - event.start - skip)
                self.spans.append(Span(event.start, last.stop, "fence", skip, max(tail, 0)))
                return end + 1
        skip = min(skip, len(self.text) - event.start)
        self.spans.append(Span(event.start, len(self.text), "fence", skip, 0))
        return len(self.events)

    def tick_in_fence(self, index: int) -> int | None:
        """A line that starts like a fence but closes on itself, as in ```` ```x``` ````."""
        event = self.events[index]
        line = event.text
        mark = line.lstrip(" ")
        width = len(mark) - len(mark.lstrip("`"))
        start = event.start + len(line) - len(mark)
        runs = re.finditer(r"`+", line[start - event.start + width :])
        for run in runs:
            if len(run.group()) == width:
                stop = start + width + run.end()
                self.spans.append(Span(start, stop, "code", width, width))
                break
        return index + 1

    def tick(self, index: int) -> int | None:
        return self.close(
            index, self.after(self.events[index].text, index), "code", in_paragraph=True
        )

    def dollar(self, index: int) -> int | None:
        event, text = self.events[index], self.text
        if event.text == "$$":
            return self.close(index, self.after("$$", index), "display", in_paragraph=False)
        if event.stop >= len(text) or text[event.stop].isspace():
            return None
        end = self.after("$", index)
        if end is None:
            return None
        last = self.events[end]
        is_money = text[last.start - 1].isspace() or text[last.stop : last.stop + 1].isdigit()
        return None if is_money else self.close(index, end, "inline", in_paragraph=True)

    def foreign(self, index: int) -> int | None:
        event = self.events[index]
        if event.text == "\\(":
            return self.close(index, self.after("\\)", index), "inline", in_paragraph=True)
        if event.text == "\\[":
            return self.close(index, self.after("\\]", index), "display", in_paragraph=False)
        if event.text.startswith("\\begin{") and event.text[7:-1] in _ENVIRONMENTS:
            end = self.after(event.text.replace("begin", "end", 1), index)
            return self.close(index, end, "display", in_paragraph=False)
        return None
