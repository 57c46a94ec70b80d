r"""Presentation MathML to TeX.

The tree is walked in post-order on a stack of its own. Each element becomes a `Piece`: its TeX and
what its neighbours must know of it. Rows do most of the work: they pair fences, see a matrix between
two brackets, name functions and set spaces.
"""

from __future__ import annotations

from collections.abc import Callable

from selectolax.lexbor import LexborNode

from nautiloid.curate.math import content, limits, tables
from nautiloid.curate.math.pieces import Piece, atom
from nautiloid.curate.math.rows import arguments, row
from nautiloid.curate.math.tokens import token
from nautiloid.curate.math.tree import TOKENS, Element, build

_STRIKES = {
    "updiagonalstrike": "\\cancel",
    "downdiagonalstrike": "\\bcancel",
    "horizontalstrike": "\\cancel",
    "verticalstrike": "\\cancel",
}


def to_tex(element: LexborNode) -> str:
    r"""TeX of a `math` element of the page, or of any element of MathML or MathJax output.

    >>> from selectolax.lexbor import LexborHTMLParser
    >>> page = LexborHTMLParser("<math><mfrac><mi>a</mi><msup><mi>b</mi><mn>2</mn></msup></mfrac></math>")
    >>> to_tex(page.css_first("math"))
    '\\frac{a}{b^{2}}'
    """
    return convert(build(element))


def convert(root: Element) -> str:
    """TeX of a tree of presentation or content MathML."""
    done: dict[int, Piece] = {}
    pending: list[tuple[Element, bool]] = [(root, False)]
    while pending:
        element, is_ready = pending.pop()
        tag = element.tag
        if tag in TOKENS:
            done[id(element)] = token(element)
        elif tag in content.TAGS:
            done[id(element)] = Piece(content.to_tex(element))
        elif is_ready or not element.children:
            pieces = [done.pop(id(child)) for child in element.children]
            maker = _MAKERS.get(tag)
            done[id(element)] = row(pieces) if maker is None else maker(element, pieces)
        else:
            pending.append((element, True))
            for child in element.children:
                if child.tag in TOKENS:
                    done[id(child)] = token(child)
                else:
                    pending.append((child, False))
    return done[id(root)].tex.strip()


def _first(element: Element, pieces: list[Piece]) -> Piece:
    return pieces[0] if pieces else Piece("")


def _selected(element: Element, pieces: list[Piece]) -> Piece:
    chosen = element.get("selection")
    index = int(chosen) - 1 if chosen.isdecimal() and len(chosen) < 4 else 0
    return pieces[min(max(index, 0), len(pieces) - 1)] if pieces else Piece("")


def _fraction(element: Element, pieces: list[Piece]) -> Piece:
    above, below = (piece.tex.strip() for piece in arguments(pieces, 2))
    thickness = element.get("linethickness").strip()
    if thickness and thickness.rstrip("pxemtn%").strip("0.") == "" and thickness[0] == "0":
        return Piece(
            f"{{{above} \\atop {below}}}", kind="binomial", parts=(above, below), is_tall=True
        )
    if element.get("bevelled") == "true":
        left, right = arguments(pieces, 2)
        return Piece(f"{atom(left)}/{atom(right)}")
    return Piece(f"\\frac{{{above}}}{{{below}}}", is_tall=True)


def _root(element: Element, pieces: list[Piece]) -> Piece:
    base, index = arguments(pieces, 2)
    if not index.tex.strip():
        return Piece(f"\\sqrt{{{base.tex.strip()}}}", is_tall=base.is_tall)
    return Piece(f"\\sqrt[{index.tex.strip()}]{{{base.tex.strip()}}}", is_tall=base.is_tall)


def _square_root(element: Element, pieces: list[Piece]) -> Piece:
    inner = row(pieces)
    return Piece(f"\\sqrt{{{inner.tex.strip()}}}", is_tall=inner.is_tall)


def _fenced(element: Element, pieces: list[Piece]) -> Piece:
    left = element.attributes.get("open")
    right = element.attributes.get("close")
    separators = element.attributes.get("separators")
    marks = "," if separators is None else "".join(separators.split())
    inside: list[Piece] = []
    for index, piece in enumerate(pieces):
        if index and marks:
            mark = marks[min(index - 1, len(marks) - 1)]
            inside.append(token(Element("mo", {}, text=mark)))
        inside.append(piece)
    opening = token(
        Element("mo", {"fence": "true", "form": "prefix"}, text="(" if left is None else left)
    )
    closing = token(
        Element("mo", {"fence": "true", "form": "postfix"}, text=")" if right is None else right)
    )
    content_row = inside[0] if len(inside) == 1 else row(inside)
    return row([opening, content_row, closing])


def _enclosed(element: Element, pieces: list[Piece]) -> Piece:
    inner = row(pieces)
    tex = inner.tex.strip()
    notations = (element.get("notation") or "longdiv").lower().split()
    for notation in notations:
        if notation in ("box", "roundedbox"):
            tex = f"\\boxed{{{tex}}}"
        elif notation == "circle":
            tex = f"\\enclose{{circle}}{{{tex}}}"
        elif notation == "radical":
            tex = f"\\sqrt{{{tex}}}"
        elif notation == "top" or notation == "actuarial":
            tex = f"\\overline{{{tex}}}"
        elif notation == "bottom":
            tex = f"\\underline{{{tex}}}"
        elif notation == "longdiv":
            tex = f"\\overline{{)\\,{tex}}}"
        elif notation in _STRIKES and len(notations) == 1:
            tex = f"{_STRIKES[notation]}{{{tex}}}"
    if {"updiagonalstrike", "downdiagonalstrike"} <= set(notations):
        tex = f"\\xcancel{{{tex}}}"
    return Piece(tex, is_tall=inner.is_tall)


def _phantom(element: Element, pieces: list[Piece]) -> Piece:
    inner = row(pieces).tex.strip()
    return Piece(f"\\phantom{{{inner}}}" if inner else "", kind="space")


def _nothing(element: Element, pieces: list[Piece]) -> Piece:
    return Piece("")


_MAKERS: dict[str, Callable[[Element, list[Piece]], Piece]] = {
    "semantics": _first,
    "maction": _selected,
    "mfrac": _fraction,
    "mroot": _root,
    "msqrt": _square_root,
    "mfenced": _fenced,
    "menclose": _enclosed,
    "mphantom": _phantom,
    "malignmark": _nothing,
    "maligngroup": _nothing,
    "none": _nothing,
    "mprescripts": _nothing,
    "msub": limits.subscript,
    "msup": limits.superscript,
    "msubsup": limits.both,
    "munder": limits.under,
    "mover": limits.over,
    "munderover": limits.under_over,
    "mmultiscripts": limits.multiscripts,
    "mtable": tables.table,
    "mtr": tables.line,
    "mlabeledtr": tables.line,
    "mtd": tables.cell,
}
