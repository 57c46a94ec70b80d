"""Brackets, arrows and accents that KaTeX draws as outlines, known by how the outlines begin."""

from __future__ import annotations

# First points of the path, words that it must contain -> character.
_FENCES = (
    ("M863,9c0", "", "("),
    ("M76,0c-16.7", "", ")"),
    ("M403 1759", "h347", "["),
    ("M403 1759", "", "\u2308"),
    ("M347 1759", "H0 v84", "]"),
    ("M347 1759", "", "\u2309"),
    ("M319 602", "h263", "\u230a"),
    ("M319 602", "", "\u230b"),
    ("M145 15", "M367 15", "\u2225"),
    ("M145 15", "", "|"),
)
# Pieces of tall brackets: one of them is enough where it is in one bracket only.
_PIECES = (
    ("\u23a8", "{"), ("\u23ac", "}"), ("\u239b", "("), ("\u239d", "("), ("\u239e", ")"),
    ("\u23a0", ")"), ("\u2191", "\u2191"), ("\u2193", "\u2193"), ("\u21d1", "\u21d1"), ("\u21d3", "\u21d3"),
)  # fmt: skip
# Sets of pieces of which one bracket is made.
_SETS = {
    frozenset("\u23a1\u23a2\u23a3"): "[", frozenset("\u23a1\u23a3"): "[",
    frozenset("\u23a4\u23a5\u23a6"): "]", frozenset("\u23a4\u23a6"): "]",
    frozenset("\u23a2\u23a3"): "\u230a", frozenset("\u23a5\u23a6"): "\u230b",
    frozenset("\u23a1\u23a2"): "\u2308", frozenset("\u23a4\u23a5"): "\u2309",
    frozenset("\u23a7\u23a9"): "\u27ee", frozenset("\u23ab\u23ad"): "\u27ef",
    frozenset("\u23a7\u23ad"): "\u23b0", frozenset("\u23ab\u23a9"): "\u23b1",
    frozenset("\u2223"): "|", frozenset("\u2225"): "\u2225",
}  # fmt: skip
_BOTH_WAYS = {"\u2191\u2193": "\u2195", "\u21d1\u21d3": "\u21d5"}

_STROKES = (
    ("M529 0h5l519", "^"), ("M1181 0h2l1171", "^"),
    ("M529,159h5", "\u02c7"), ("M1181,340h2", "\u02c7"), ("M1181,220h2", "\u02c7"),
    ("M1181,280h2", "\u02c7"),
    ("M200 55.538", "~"), ("M344 55.266", "~"), ("M786 59", "~"), ("M786 58", "~"),
    ("M377 20c0", "vec"),
    ("M6 548", "\u23de"), ("M0 6l6-6", "\u23df"),
    ("M0 440", "\u23b4"), ("M0 0 h120", "\u23b5"),
    ("M400000 80", "\u23dc"), ("M400000 262", "\u23dd"),
    ("M0 241v40h399993", "\u21c0"), ("M399747 511", "\u21c1"),
    ("M0 267c.7", "\u21bc"), ("M7 241c", "\u21bd"), ("M7 435c", "\u21cc"),
    ("M399738 392", "\u21d2"), ("M262 157", "\u21d0"), ("M40 281", "\u21a6"),
    ("M400000 281", "\u21aa"), ("M400000 167", "\u21a0"), ("M0 167c68", "\u219e"),
    ("M0 50 h400000", "="), ("M0 147h400000", "\u21c4"),
    ("M0 241v40h399891", "\u2192"), ("M400000 241", "\u2190"),
)  # fmt: skip
# Arrows of two outlines.
_PAIRS = {
    ("\u2190", "\u2192"): "\u2194",
    ("\u21d0", "\u21d2"): "\u21d4",
    ("\u21cc", "\u21c0"): "\u21cc",
    ("\u21bc", "\u21c1"): "\u21cb",
}


def fence(outlines: list[str], text: str) -> str:
    """The bracket that outlines or pieces draw; the text itself where it is one already."""
    for piece, char in _PIECES:
        if piece in text:
            for both, turned in _BOTH_WAYS.items():
                if both[0] in text and both[1] in text:
                    return turned
            return char
    made = _SETS.get(frozenset(text)) if text else None
    if made is not None:
        return made
    if text:
        return text
    for outline in outlines[:1]:
        for start, word, char in _FENCES:
            if outline.startswith(start) and word in outline:
                return char
    return ""


def stroke(outlines: list[str]) -> str:
    """The accent, brace or arrow that outlines draw, "" for one that is not known."""
    known = [_stroke(outline) for outline in outlines[:3]]
    if len(known) >= 2 and (known[0], known[1]) in _PAIRS:
        return _PAIRS[known[0], known[1]]
    if len(known) >= 2 and known[0] == "\u2190" and not known[1]:
        return "\u21a9"
    return next((char for char in known if char), "")


def _stroke(outline: str) -> str:
    for start, char in _STROKES:
        if outline.startswith(start):
            return char
    return ""
