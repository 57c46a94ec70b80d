"""Code listings: text with every space kept, line-number gutters dropped, prompts kept."""

from __future__ import annotations

import re

from nautiloid.curate.extract._element import ELEMENTS, Role, unescape
from nautiloid.curate.extract._inline import VOID
from nautiloid.curate.extract._memo import Memo
from nautiloid.curate.extract._tokens import Tokens

# Inside these the plain join of texts is right, unless an attribute tells of gutters or hidden parts.
_PLAIN = frozenset(
    f"{slash}{name}"
    for name in ["span", "a", "b", "i", "em", "strong", "code", "u", "font", "var", "tt", "ins"]
    for slash in ("", "/")
)
_SPECIAL = re.compile(
    "line-?_?n(?:o|um)|gutter|\\blnt?\\b|hidden|display|button|tooltip|ttc|annottext|headerlink|copy|crayon"
)
_ROWS = frozenset(
    ("div", "p", "tr", "li", "/div", "/p", "/tr", "/li", "table", "/table", "ol", "ul", "hr")
)
_NUMBERED = re.compile(r"[ \t]{0,8}([0-9]{1,6})[:|][ \t]?")
# Shorter listings may be numbered by their author.
_NUMBERED_LINES = 6
_FENCE = re.compile(r"^[ \t]*(`{3,})", re.MULTILINE)


def text_of(tokens: Tokens, start: int, stop: int) -> str:
    """Text between the start tag at `start` and its end tag at `stop`, white space as it is."""
    if all(map(_IS_PLAIN.__getitem__, set(tokens.tags[start + 1 : stop]))):
        return unescape(tokens.text(start, stop))
    return unescape(_by_rows(tokens, start, stop))


def _is_plain(tag: str) -> bool:
    name, _, rest = tag.partition(" ")
    return name in _PLAIN and not _SPECIAL.search(rest)


def _is_run(tag: str) -> bool:
    """Whether a tag neither makes a row nor may be left out with what is in it."""
    name, _, rest = tag.partition(" ")
    is_row = name == "br" or name in _ROWS
    return not is_row and (not rest or name in VOID or ELEMENTS[tag].role not in _LEFT_OUT)


_LEFT_OUT = frozenset((Role.HIDDEN, Role.CHROME, Role.GUTTER))
_IS_PLAIN = Memo(_is_plain)
_IS_RUN = Memo(_is_run)


def _by_rows(tokens: Tokens, start: int, stop: int) -> str:
    """The careful way: line breaks where elements make rows, gutters and hidden parts left out."""
    parts: list[str] = []
    ends_row = True
    texts, names, tags = tokens.texts, tokens.names, tokens.tags
    # Inside `pre` the line breaks between rows are there already.
    is_pre = names[start] == "pre"
    has_rows = not is_pre or not _ROWS.isdisjoint(names[start + 1 : stop])
    row = -1
    at = start + 1
    while at <= stop:
        text = texts[at]
        # Between rows the source is indented; inside them every space counts.
        if text and not (has_rows and ends_row and "\n" in text and text.isspace()):
            parts.append(text)
            ends_row = text[-1] == "\n"
        tag = tags[at]
        if _IS_RUN[tag]:
            at += 1
            continue
        name = names[at]
        if name == "br":
            parts.append("\n")
            ends_row = True
        elif name in _ROWS:
            # An empty row is an empty line of the code.
            is_empty = name[0] == "/" and name != "/table" and len(parts) == row
            if is_pre and name[0] == "/" and _next_text(tokens, at, stop).startswith("\n"):
                ends_row = False
            elif not ends_row or is_empty:
                parts.append("\n")
                ends_row = True
            if name[0] != "/":
                row = len(parts)
        if tag != name and name not in VOID:
            role = ELEMENTS[tag].role
            if role in _LEFT_OUT:
                end = tokens.end(at)
                if role is not Role.GUTTER or tokens.is_number(at, end):
                    # The text behind what is left out stands before the next tag.
                    at = end
        at += 1
    return "".join(parts)


def _next_text(tokens: Tokens, at: int, stop: int) -> str:
    """The text behind an end tag, and behind those that follow it at once."""
    at += 1
    while at < stop and not tokens.texts[at] and tokens.names[at][0] == "/":
        at += 1
    return tokens.texts[at]


def tidied(code: str) -> str:
    """Code without empty lines around it and spaces at the ends of its lines."""
    if "\r" in code:
        code = code.replace("\r\n", "\n").replace("\r", "\n")
    if "\xa0" in code:
        code = code.replace("\xa0", " ")
    if "\u200b" in code:
        code = code.replace("\u200b", "")
    lines = [line.rstrip() for line in code.split("\n")]
    return "\n".join(_unnumbered(lines)).strip("\n")


def _unnumbered(lines: list[str]) -> list[str]:
    """Lines without the numbers in front of them, where all of them have their own."""
    offset = None
    stripped: list[str] = []
    for index, line in enumerate(lines):
        match = _NUMBERED.match(line)
        if match is None:
            if line:
                return lines
            stripped.append(line)
            continue
        if offset is None:
            offset = int(match.group(1)) - index
        if int(match.group(1)) - index != offset:
            return lines
        stripped.append(line[match.end() :])
    return stripped if len(lines) >= _NUMBERED_LINES and offset is not None else lines


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
