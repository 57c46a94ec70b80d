"""Spaces of a formula by their width."""

from __future__ import annotations

from nautiloid.curate.math.pieces import Piece
from nautiloid.curate.math.tree import Element

_LENGTHS = {
    "veryverythinmathspace": 1 / 18,
    "verythinmathspace": 2 / 18,
    "thinmathspace": 3 / 18,
    "mediummathspace": 4 / 18,
    "thickmathspace": 5 / 18,
    "verythickmathspace": 6 / 18,
    "veryverythickmathspace": 7 / 18,
}
# Characters that are nothing but width, in em.
WIDTHS = {"\u2003": 1.0, "\u2002": 0.5, "\u2004": 1 / 3, "\u2005": 0.25, "\u2009": 1 / 6,
          "\u200a": 0.06, "\u205f": 4 / 18, "\u202f": 1 / 6}  # fmt: skip
_UNITS = {"ex": 0.45, "px": 1 / 16, "pt": 1 / 12, "mu": 1 / 18}


def space(element: Element) -> Piece:
    """The piece of an `mspace`."""
    if element.get("linebreak") == "newline":
        return Piece("\\\\", kind="break")
    return Piece(width_tex(ems(element.get("width"))), kind="space")


def width_tex(width: float) -> str:
    """The spacing command nearest to a width in em, "" for what is too narrow to be meant."""
    if width >= 1.8:
        return "\\qquad "
    if width >= 0.9:
        return "\\quad "
    if width >= 0.25:
        return "\\;"
    if width >= 0.1:
        return "\\,"
    return "\\!" if width <= -0.1 else ""


def ems(width: str) -> float:
    """A length of MathML in em; 0 for one that cannot be read.

    >>> ems("0.5em"), ems("thickmathspace") > 0.2, ems("wide")
    (0.5, True, 0.0)
    """
    width = width.strip().lower()
    if width in _LENGTHS:
        return _LENGTHS[width]
    number = width.rstrip("abcdefghijklmnopqrstuvwxyz% ")
    try:
        value = float(number)
    except ValueError:
        return 0.0
    return value * _UNITS.get(width[len(number) :].strip(), 1.0)
