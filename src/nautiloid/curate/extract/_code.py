"""Code listings: text with every space kept, line-number gutters dropped, prompts kept."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nautiloid.curate.extract._element import Role, parse, unescape

# What makes the plain join of texts wrong: rows of their own, gutters, hidden parts.
_SPECIAL = re.compile(
    r"(?:^|\n)(?:br|hr|div|p|tr|li|table|ol|ul)(?:[ \n]|$)"
    r"|line-?_?n(?:o|um)|gutter|\blnt?\b|hidden|display|button|tooltip|ttc|headerlink|copy|data-line-number"
)
_ROWS = frozenset(
    ("div", "p", "tr", "li", "/div", "/p", "/tr", "/li", "table", "/table", "ol", "ul", "hr")
)
_FENCE = re.compile(r"^[ \t]*(`{3,})", re.MULTILINE)
_VOID = frozenset(
    [
        "br",
        "hr",
        "img",
        "input",
        "wbr",
        "meta",
        "link",
        "col",
        "area",
        "base",
        "embed",
        "source",
        "track",
        "param",
    ]
)


def end(tags: Sequence[str], start: int, name: str) -> int:
    """Index of the end tag that belongs to the start tag `name` at `start`; the last tag if none does."""
    closing = "/" + name
    opening = name + " "
    depth = 1
    position = start + 1
    while True:
        try:
            stop = tags.index(closing, position)
        except ValueError:
            return len(tags) - 1
        depth -= 1
        for tag in tags[position:stop]:
            if tag == name or tag.startswith(opening):
                depth += 1
        if not depth:
            return stop
        position = stop + 1


def text_of(texts: Sequence[str], tags: Sequence[str], start: int, stop: int) -> str:
    """Text between the start tag at `start` and its end tag at `stop`, white space as it is.

    Args:
        texts: `texts[i]` stands before `tags[i]`.
        tags: Without angle brackets.
        start: Index of the start tag.
        stop: Index of its end tag.
    """
    inner = tags[start + 1 : stop]
    if not inner:
        return unescape(texts[stop])
    if not _SPECIAL.search("\n".join(inner)):
        return unescape("".join(texts[start + 1 : stop + 1]))
    return unescape(_by_rows(texts, tags, start, stop))


def _by_rows(texts: Sequence[str], tags: Sequence[str], start: int, stop: int) -> str:
    """The careful way: line breaks where elements make rows, gutters and hidden parts left out."""
    parts: list[str] = []
    ends_row = True
    at = start + 1
    while at <= stop:
        if text := texts[at]:
            # Between rows the source is indented; inside them every space counts.
            if not (ends_row and "\n" in text and text.isspace()):
                parts.append(text)
                ends_row = text.endswith("\n")
        tag = tags[at]
        name = tag.partition(" ")[0]
        if name == "br":
            parts.append("\n")
            ends_row = True
        elif name in _ROWS:
            if name[0] == "/" and name != "/table":
                # An empty row is an empty line of the code.
                if not ends_row or tags[at - 1].partition(" ")[0] == name[1:]:
                    parts.append("\n")
                    ends_row = True
            elif not ends_row:
                parts.append("\n")
                ends_row = True
        if name is not tag and name[0] != "/" and name not in _VOID:
            element = parse(tag)
            if element.role in (Role.HIDDEN, Role.CHROME, Role.GUTTER):
                at = end(tags, at, name) + 1
                # The text behind what was left out stands before the next tag.
                continue
        at += 1
    return "".join(parts)


def tidied(code: str) -> str:
    """Code without empty lines around it and spaces at its very end."""
    if "\r" in code:
        code = code.replace("\r\n", "\n").replace("\r", "\n")
    if "\xa0" in code:
        code = code.replace("\xa0", " ")
    if "\u200b" in code:
        code = code.replace("\u200b", "")
    code = code.rstrip()
    first = 0
    while (newline := code.find("\n", first)) >= 0 and not code[first:newline].strip():
        first = newline + 1
    return code[first:]


def is_gutter(code: str) -> bool:
    """Whether a listing holds line numbers alone.

    >>> is_gutter("1\\n2\\n3"), is_gutter("12")
    (True, False)
    """
    numbers = code.split()
    if len(numbers) < 2 or not all(number.isdecimal() and len(number) < 7 for number in numbers):
        return False
    first = int(numbers[0])
    return all(int(number) == first + i for i, number in enumerate(numbers))


def fenced(code: str, language: str) -> str:
    """A Markdown code block whose fence is longer than any inside."""
    longest = max((len(run) for run in _FENCE.findall(code)), default=2)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code}\n{fence}"
