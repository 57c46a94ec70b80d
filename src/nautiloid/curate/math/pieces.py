"""What one converted element tells its neighbours."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE = re.compile(r"[A-Za-z0-9]|\\[A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Piece:
    r"""TeX of one element.

    Args:
        tex: The TeX.
        kind: `ord`, `operator`, `relation`, `open`, `close`, `bar` (a fence that opens or closes),
            `punctuation`, `large` (takes limits), `function`, `word` (upright letters that may be
            one), `apply` (the invisible application), `space`, `break`, `table`, `binomial`,
            `text`, `empty`.
        raw: Characters of the operator or identifier it was made from.
        parts: Pieces of a larger whole: numerator and denominator, rows of a table.
        is_tall: Whether fences around it must stretch.
        is_stretchy: Of a fence: False where the page forbids stretching, True where it says so.
        is_group: Whether scripts may follow without braces around it.
        align: Of a table: letters of its columns.
    """

    tex: str
    kind: str = "ord"
    raw: str = ""
    parts: tuple[str, ...] = ()
    is_tall: bool = False
    is_stretchy: bool | None = None
    is_group: bool = True
    align: str = ""
    accent: str = ""


def is_single(tex: str) -> bool:
    r"""Whether TeX is one letter, digit or command.

    >>> is_single("x"), is_single(r"\pi"), is_single("ab")
    (True, True, False)
    """
    return _ONE.fullmatch(tex) is not None


def atom(piece: Piece) -> str:
    """TeX that scripts can be put on: in braces where it has several parts."""
    tex = piece.tex.strip()
    if not tex:
        return "{}"
    if piece.is_group or is_single(tex):
        return tex
    return f"{{{tex}}}"


def braced(piece: Piece) -> Piece:
    """The piece as one ordinary atom."""
    return Piece(atom(piece), is_tall=piece.is_tall)
