"""The main element of a serialised page."""

from __future__ import annotations

from nautiloid.curate.extract._tokens import Tokens

MAIN_SHARE = 0.5
_MOST = 4


def main_of(html: str) -> Tokens:
    """The main element where it is marked and holds title and most text, else everything.

    Args:
        html: As the parser's serialiser writes it, without raw text and comments.
    """
    starts = _starts(html)
    if 0 < len(starts) <= _MOST:
        start = starts[0]
        stop = _end(html, start)
        if starts[-1] < stop and html.find("<h1", start, stop) >= 0:
            tokens = Tokens.of(html[start:stop])
            inside = sum(map(len, tokens.texts))
            outside = _text_chars(html[:start]) + _text_chars(html[stop:])
            if inside >= MAIN_SHARE * (inside + outside):
                return tokens
    return Tokens.of(html)


def _starts(html: str) -> list[int]:
    """Where the tags of main elements begin, in order; a few too many where there are many."""
    found: set[int] = set()
    for needle in ("<main", ' role="main"'):
        position = html.find(needle)
        while position >= 0 and len(found) <= _MOST:
            start = html.rfind("<", 0, position + 1)
            # Text may say the same words, as may the names of other elements.
            is_tag = html.find(">", start, position) < 0 and html[start + 1] != "/"
            if is_tag and (needle[0] == " " or html[start + 5] in " >"):
                found.add(start)
            position = html.find(needle, position + 1)
    return sorted(found)


def _end(html: str, start: int) -> int:
    """Index behind the end tag of the element at `start`."""
    tag = html[start : html.index(">", start)]
    name = tag.partition(" ")[0]
    closing = f"</{name[1:]}>"
    depth = 1
    position = start + 1
    while (stop := html.find(closing, position)) >= 0:
        depth += html.count(name + ">", position, stop) + html.count(name + " ", position, stop) - 1
        position = stop + len(closing)
        if not depth:
            return position
    return len(html)


def _text_chars(html: str) -> int:
    """Characters outside tags."""
    return sum(map(len, html.replace("<", ">").split(">")[0::2]))
