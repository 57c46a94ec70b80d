"""A parsed page as flat lists: a Python loop over them is several times cheaper than over nodes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from nautiloid.curate.extract._memo import Memo

# What the text of a block must be cleaned of; most pages have none of them.
ODD = "\t\x0b\x0c\r\u00ad\u200b\u200e\u200f\u2028\u2060\u3000\ufeff"
# Stands for <br> until white space has been collapsed; a page loses its own.
BREAK = "\x01"
_COMMENT = re.compile("<!--.*?-->", re.DOTALL)


@dataclass
class Tokens:
    """A page; `texts[i]` stands before tag `i`, and one text more at the end.

    Args:
        texts: As serialised: `&amp;`, `&lt;`, `&gt;`, `&nbsp;` are escaped.
        tags: As serialised, without their angle brackets.
        names: Of the tags, lower case, end tags with their slash.
        odd: Characters of `ODD` that the page has.
    """

    texts: list[str]
    tags: list[str]
    names: list[str]
    odd: tuple[str, ...] = ()

    @classmethod
    def of(cls, html: str) -> Tokens:
        """Tokens of serialised HTML without comments, `script`, `style` and other raw text."""
        if BREAK in html:
            html = html.replace(BREAK, "")
        odd = [char for char in ODD if char in html]
        if "&nbsp;" in html:
            odd.append("\xa0")
        # The serialiser escapes both brackets in texts and attributes: texts and tags take turns.
        parts = html.replace("<", ">").split(">")
        if len(parts) % 2 == 0:
            # Only raw text that should not be there.
            parts.append("")
        tags = parts[1::2]
        names = list(map(_NAMES.__getitem__, tags))
        return cls(parts[0::2], tags, names, tuple(odd))

    @cached_property
    def sums(self) -> list[int]:
        """`sums[i]` is the length of the texts before text `i`."""
        return [0, *accumulate(map(len, self.texts))]

    def end(self, start: int) -> int:
        """Index of the end tag of the start tag at `start`; the last tag if there is none."""
        names = self.names
        name = names[start]
        closing = "/" + name
        depth = 1
        position = start + 1
        if names[position : position + 1] == [closing]:
            return position
        while True:
            try:
                stop = names.index(closing, position)
            except ValueError:
                return len(names) - 1
            depth += names[position:stop].count(name) - 1
            if not depth:
                return stop
            position = stop + 1

    def text(self, start: int, stop: int) -> str:
        """Everything between two tags, still escaped."""
        return "".join(self.texts[start + 1 : stop + 1])

    def is_number(self, start: int, stop: int) -> bool:
        """Whether line numbers or `[1]:` alone, or nothing, stand between two tags."""
        digits = "".join(self.text(start, stop).split()).strip("[]:")
        return not digits or digits.isdecimal()

    def share(self, start: int, stop: int) -> float:
        """Share of the text of the page that stands between two tags."""
        return (self.sums[stop + 1] - self.sums[start + 1]) / max(1, self.sums[-1])

    def link_share(self, start: int, stop: int) -> float:
        """Share of the text between two tags that is inside links."""
        names, sums = self.names, self.sums
        linked = 0
        position = start + 1
        while True:
            try:
                opened = names.index("a", position, stop)
                position = names.index("/a", opened, stop)
            except ValueError:
                break
            linked += sums[position + 1] - sums[opened + 1]
        # White space between the items of a menu is no text.
        return linked / max(1, len(" ".join(self.text(start, stop).split())))


def without_comments(html: str) -> str:
    """Serialised HTML without its comments."""
    return _COMMENT.sub("", html) if "<!--" in html else html


def _name(tag: str) -> str:
    return tag.partition(" ")[0]


_NAMES = Memo(_name)
