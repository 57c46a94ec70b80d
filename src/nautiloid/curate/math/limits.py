r"""Scripts, limits and accents: `x_{i}^{2}`, `\sum_{i=1}^{n}`, `\hat{x}`, `\overset{a}{b}`."""

from __future__ import annotations

import re

from nautiloid.curate.math.pieces import Piece, atom, is_single
from nautiloid.curate.math.rows import arguments
from nautiloid.curate.math.symbols import join
from nautiloid.curate.math.tree import Element

_ACCENTED = re.compile(
    r"\\(?:hat|tilde|bar|vec|dot|ddot|acute|grave|breve|check|mathring)\{(.{1,60})\}"
)
_FENCES = frozenset(("open", "close", "bar"))
# Accent character -> command over one letter, command that stretches.
_OVER = {
    "^": ("\\hat", "\\widehat"), "\u02c6": ("\\hat", "\\widehat"), "\u0302": ("\\hat", "\\widehat"),
    "~": ("\\tilde", "\\widetilde"), "\u02dc": ("\\tilde", "\\widetilde"),
    "\u0303": ("\\tilde", "\\widetilde"), "\u223c": ("\\tilde", "\\widetilde"),
    "\u00af": ("\\bar", "\\overline"), "\u02c9": ("\\bar", "\\overline"),
    "\u0304": ("\\bar", "\\overline"), "-": ("\\bar", "\\overline"), "\u2212": ("\\bar", "\\overline"),
    "\u2013": ("\\bar", "\\overline"), "_": ("\\bar", "\\overline"), "\u2014": ("\\bar", "\\overline"),
    "\u203e": ("\\overline", "\\overline"), "\u2015": ("\\overline", "\\overline"),
    "\u0305": ("\\overline", "\\overline"), "\u2500": ("\\overline", "\\overline"),
    "\u02d9": ("\\dot", "\\dot"), "\u0307": ("\\dot", "\\dot"), ".": ("\\dot", "\\dot"),
    "\u22c5": ("\\dot", "\\dot"), "\u00b7": ("\\dot", "\\dot"),
    "\u00a8": ("\\ddot", "\\ddot"), "\u0308": ("\\ddot", "\\ddot"), "..": ("\\ddot", "\\ddot"),
    "\u20db": ("\\dddot", "\\dddot"), "...": ("\\dddot", "\\dddot"),
    "\u20dc": ("\\ddddot", "\\ddddot"), "....": ("\\ddddot", "\\ddddot"),
    "\u00b4": ("\\acute", "\\acute"), "\u02ca": ("\\acute", "\\acute"), "\u0301": ("\\acute", "\\acute"),
    "`": ("\\grave", "\\grave"), "\u02cb": ("\\grave", "\\grave"), "\u0300": ("\\grave", "\\grave"),
    "\u02d8": ("\\breve", "\\breve"), "\u0306": ("\\breve", "\\breve"),
    "\u02c7": ("\\check", "\\widecheck"), "\u030c": ("\\check", "\\widecheck"),
    "\u02da": ("\\mathring", "\\mathring"), "\u030a": ("\\mathring", "\\mathring"),
    "\u20d7": ("\\vec", "\\overrightarrow"), "\u2192": ("\\vec", "\\overrightarrow"),
    "\u21c0": ("\\vec", "\\overrightharpoon"), "\u27f6": ("\\vec", "\\overrightarrow"),
    "\u2190": ("\\overleftarrow", "\\overleftarrow"), "\u20d6": ("\\overleftarrow", "\\overleftarrow"),
    "\u2194": ("\\overleftrightarrow", "\\overleftrightarrow"),
    "\u23de": ("\\overbrace", "\\overbrace"), "\ufe37": ("\\overbrace", "\\overbrace"),
    "\u23dc": ("\\overparen", "\\overparen"), "\u2322": ("\\overparen", "\\overparen"),
    "\u23b4": ("\\overbracket", "\\overbracket"),
}  # fmt: skip
_UNDER = {
    "_": "\\underline", "\u0332": "\\underline", "\u2015": "\\underline", "\u203e": "\\underline",
    "\u00af": "\\underline", "\u02c9": "\\underline", "\u2500": "\\underline",
    "\u2013": "\\underline", "\u2212": "\\underline", "-": "\\underline",
    "\u23df": "\\underbrace", "\ufe38": "\\underbrace", "\u23dd": "\\underparen",
    "\u23b5": "\\underbracket", "\u2192": "\\underrightarrow", "\u2190": "\\underleftarrow",
    "\u2194": "\\underleftrightarrow", "~": "\\utilde",
}  # fmt: skip
_ARROWS = {
    "\u2192": "\\xrightarrow", "\u2190": "\\xleftarrow", "\u2194": "\\xleftrightarrow",
    "\u21d2": "\\xRightarrow", "\u21d0": "\\xLeftarrow", "\u21d4": "\\xLeftrightarrow",
    "\u27f6": "\\xrightarrow", "\u27f5": "\\xleftarrow", "\u21a6": "\\xmapsto",
    "\u21aa": "\\xhookrightarrow", "\u21a9": "\\xhookleftarrow", "\u21c0": "\\xrightharpoonup",
    "\u21cc": "\\xrightleftharpoons",
}  # fmt: skip


def _with(base: Piece, tail: str) -> Piece:
    """The base with scripts behind it: still a fence, a function or a large operator to its row."""
    kind = base.kind if base.kind in _FENCES or base.kind in ("large", "function") else "ord"
    head = atom(base) if kind == "ord" else base.tex.strip()
    return Piece(
        head + tail,
        kind=kind,
        raw=base.raw if kind != "ord" else "",
        is_tall=base.is_tall or (bool(tail) and base.kind == "close"),
        is_stretchy=base.is_stretchy,
        is_group=not tail,
    )


def _sup(piece: Piece) -> str:
    tex = piece.tex.strip()
    if not tex:
        return ""
    bare = tex.lstrip("'")
    primes = tex[: len(tex) - len(bare)]
    return primes + (f"^{{{bare.strip()}}}" if bare.strip() else "")


def _sub(piece: Piece) -> str:
    tex = _stacked(piece)
    return f"_{{{tex}}}" if tex else ""


def _stacked(piece: Piece) -> str:
    """A script; lines under an operator are a `substack`."""
    if piece.kind == "table" and set(piece.align) <= {"c", "l"} and len(piece.align) <= 1:
        return f"\\substack{{{piece.parts[0]}}}"
    return piece.tex.strip()


def subscript(element: Element, pieces: list[Piece]) -> Piece:
    """`msub`."""
    base, sub = arguments(pieces, 2)
    return _with(base, _sub(sub))


def superscript(element: Element, pieces: list[Piece]) -> Piece:
    """`msup`; primes come without braces."""
    base, sup = arguments(pieces, 2)
    return _with(base, _sup(sup))


def both(element: Element, pieces: list[Piece]) -> Piece:
    """`msubsup`."""
    base, sub, sup = arguments(pieces, 3)
    return _with(base, _sub(sub) + _sup(sup))


def _command(piece: Piece, base: Piece) -> str:
    """Accent command that `piece` over `base` stands for, "" for none."""
    commands = _OVER.get(piece.raw) or _OVER.get(piece.tex.strip())
    if commands is None:
        return ""
    narrow, wide = commands
    if piece.accent == "false":
        return narrow
    if piece.accent == "true":
        return wide
    return narrow if is_single(_core(base.tex.strip())) or base.kind == "font" else wide


def _core(tex: str) -> str:
    r"""What stands below accents: `x` of `\dot{x}`."""
    while (match := _ACCENTED.fullmatch(tex)) is not None:
        tex = match[1]
    return tex


def over(element: Element, pieces: list[Piece]) -> Piece:
    """`mover`: an accent, an arrow with text on it, an upper limit, or something set above."""
    base, above = arguments(pieces, 2)
    if not above.tex.strip():
        return base
    command = _command(above, base)
    # A relation with a sign above it is no accent: = with ^ or ~ on it is set above.
    if command and not (base.kind == "relation" and element.get("accent") != "true"):
        tex = f"{command}{{{base.tex.strip()}}}"
        return Piece(
            tex,
            raw=command if command in ("\\overbrace", "\\overbracket") else "",
            is_tall=base.is_tall,
        )
    if base.raw in ("\\overbrace", "\\overbracket"):
        return Piece(f"{base.tex}^{{{above.tex.strip()}}}", is_tall=True, is_group=False)
    if base.raw in _ARROWS:
        return Piece(f"{_ARROWS[base.raw]}{{{above.tex.strip()}}}", kind="relation")
    if base.kind in ("large", "function"):
        return _with(base, _sup(above))
    return _set(f"\\overset{{{_stacked(above)}}}", base)


def under(element: Element, pieces: list[Piece]) -> Piece:
    """`munder`: a lower limit, a line or brace below, or something set below."""
    base, below = arguments(pieces, 2)
    if not below.tex.strip():
        return base
    command = _UNDER.get(below.raw) or _UNDER.get(below.tex.strip())
    if command and base.kind not in ("large", "function") and base.raw not in _ARROWS:
        raw = command if command in ("\\underbrace", "\\underbracket") else ""
        return Piece(f"{command}{{{base.tex.strip()}}}", raw=raw, is_tall=base.is_tall)
    if base.raw in ("\\underbrace", "\\underbracket"):
        return Piece(f"{base.tex}_{{{_stacked(below)}}}", is_tall=True, is_group=False)
    if base.raw in _ARROWS:
        return Piece(f"{_ARROWS[base.raw]}[{below.tex.strip()}]{{}}", kind="relation")
    if base.kind in ("large", "function"):
        return _with(base, _sub(below))
    if base.kind == "word":
        return Piece(f"\\operatorname*{{{base.parts[1]}}}{_sub(below)}", kind="function")
    return _set(f"\\underset{{{_stacked(below)}}}", base)


def under_over(element: Element, pieces: list[Piece]) -> Piece:
    """`munderover`."""
    base, below, above = arguments(pieces, 3)
    if base.raw in _ARROWS:
        tex = f"{_ARROWS[base.raw]}[{below.tex.strip()}]{{{above.tex.strip()}}}"
        return Piece(tex, kind="relation")
    if base.kind in ("large", "function"):
        return _with(base, _sub(below) + _sup(above))
    if base.kind == "word":
        return Piece(
            f"\\operatorname*{{{base.parts[1]}}}{_sub(below)}{_sup(above)}", kind="function"
        )
    accented = over(element, [base, above])
    if _command(above, base):
        # docutils sets the index of an accented letter below it.
        return _with(accented, _sub(below))
    return under(element, [accented, below])


def _set(command: str, base: Piece) -> Piece:
    kind = base.kind if base.kind in ("relation", "binary") else "ord"
    return Piece(f"{command}{{{base.tex.strip()}}}", kind=kind, is_tall=kind == "ord")


def multiscripts(element: Element, pieces: list[Piece]) -> Piece:
    """`mmultiscripts`: scripts behind the base, then those in front of it."""
    if not pieces:
        return Piece("")
    base, rest = pieces[0], pieces[1:]
    tags = [child.tag for child in element.children[1:]]
    split = tags.index("mprescripts") if "mprescripts" in tags else len(tags)
    behind, front = rest[:split], rest[split + 1 :]
    tail = _pairs(behind)
    head = _pairs(front)
    if not head:
        return _with(base, tail)
    return Piece(join("{}" + head, atom(base)) + tail, is_group=False)


def _pairs(pieces: list[Piece]) -> str:
    tex = ""
    for index in range(0, len(pieces), 2):
        sub = _sub(pieces[index])
        sup = _sup(pieces[index + 1]) if index + 1 < len(pieces) else ""
        tex += ("{}" if tex and (sub or sup) else "") + sub + sup
    return tex
