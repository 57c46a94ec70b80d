r"""Rows of a formula: fences in pairs, matrices between brackets, functions, spaces."""

from __future__ import annotations

from dataclasses import replace

from nautiloid.curate.math.pieces import Piece
from nautiloid.curate.math.symbols import join

_MATRICES = {("(", ")"): "pmatrix", ("[", "]"): "bmatrix", ("\\{", "\\}"): "Bmatrix",
             ("|", "|"): "vmatrix", ("\\|", "\\|"): "Vmatrix"}  # fmt: skip
_FENCES = frozenset(("open", "close", "bar"))
_BEFORE_UNARY = frozenset(
    ("", "open", "relation", "binary", "punctuation", "slash", "space", "break", "large")
)


def row(pieces: list[Piece]) -> Piece:
    """The pieces of an `mrow` as one."""
    pieces = [piece for piece in pieces if piece.tex or piece.kind in ("null", "apply")]
    if len(pieces) == 1:
        return pieces[0]
    if not pieces:
        return Piece("", kind="empty")
    if len(pieces) == 2 and pieces[1].kind == "apply":
        return _words(pieces)[0] if pieces[0].kind != "function" else pieces[0]
    is_tall = any(piece.is_tall for piece in pieces)
    whole = _one_group(pieces)
    if whole is not None:
        return whole
    if any(piece.kind in _FENCES or piece.kind == "table" for piece in pieces):
        pieces = _paired(pieces)
        if len(pieces) == 1:
            return pieces[0]
    tex = _joined(_words(pieces))
    is_primes = all(piece.kind == "prime" for piece in pieces)
    return Piece(
        tex,
        kind="prime" if is_primes else "ord",
        raw=tex if is_primes else "",
        is_tall=is_tall,
        is_group=_is_pair(pieces),
    )


def _is_pair(pieces: list[Piece]) -> bool:
    """Whether the first fence ends at the last piece: (a + b) needs no braces under a script."""
    if pieces[0].kind != "open" or pieces[-1].kind != "close":
        return False
    depth = 0
    for piece in pieces[:-1]:
        depth += (piece.kind == "open") - (piece.kind == "close")
        if depth == 0:
            return False
    return depth == 1


def arguments(pieces: list[Piece], count: int) -> list[Piece]:
    """Exactly `count` pieces: what is missing is empty, what is too much joins the last one."""
    if len(pieces) > count:
        return [*pieces[: count - 1], row(pieces[count - 1 :])]
    return pieces + [Piece("", kind="empty")] * (count - len(pieces))


def _one_group(pieces: list[Piece]) -> Piece | None:
    """A row that is one table or binomial between two fences."""
    if len(pieces) == 3 and pieces[0].kind in _FENCES and pieces[2].kind in _FENCES:
        made = _around(pieces[0], pieces[1], pieces[2])
        if made is not None:
            return made
    ends = len(pieces) == 2 or (len(pieces) == 3 and pieces[2].kind == "null")
    if ends and pieces[0].tex == "\\{" and pieces[1].kind == "table":
        return _cases(pieces[1])
    return None


def _around(left: Piece, inner: Piece, right: Piece) -> Piece | None:
    """A matrix or binomial with its fences, None for anything else."""
    if inner.kind == "binomial":
        if (left.tex, right.tex) == ("(", ")"):
            return Piece(f"\\binom{{{inner.parts[0]}}}{{{inner.parts[1]}}}", is_tall=True)
        if (left.tex, right.tex) == ("\\{", "\\}"):
            return Piece(f"{{{inner.parts[0]} \\brace {inner.parts[1]}}}", is_tall=True)
        if (left.tex, right.tex) == ("[", "]"):
            return Piece(f"{{{inner.parts[0]} \\brack {inner.parts[1]}}}", is_tall=True)
    if inner.kind == "table":
        name = _MATRICES.get((left.tex, right.tex))
        if name and set(inner.align) <= {"c"}:
            return Piece(environment(name, inner.parts[0]), is_tall=True)
    return None


def _cases(table: Piece) -> Piece:
    return Piece(environment("cases", table.parts[0]), is_tall=True)


def environment(name: str, body: str, columns: str = "") -> str:
    """An environment of TeX around rows that are already joined."""
    head = f"\\begin{{{name}}}" + (f"{{{columns}}}" if columns else "")
    return (
        f"{head}{body}\\end{{{name}}}" if body.startswith(" ") else f"{head} {body} \\end{{{name}}}"
    )


def _paired(pieces: list[Piece]) -> list[Piece]:
    """Pieces with `\\left`, `\\right` on fences around tall content, matrices and cases put together."""
    out: list[Piece] = []
    # Indices into `out` of fences that wait for their end.
    waiting: list[int] = []
    for index, piece in enumerate(pieces):
        kind = piece.kind
        if kind == "bar":
            opener = waiting[-1] if waiting else -1
            closes = opener >= 0 and out[opener].raw == piece.raw and len(out) - opener > 1
            kind = "close" if closes else "open"
        if kind == "open":
            waiting.append(len(out))
            out.append(piece)
        elif waiting and (kind == "null" or (kind == "close" and _match(out[waiting[-1]], piece))):
            _close(out, waiting.pop(), piece)
        elif kind == "table" and waiting and waiting[-1] == len(out) - 1 and out[-1].tex == "\\{":
            closing = pieces[index + 1] if index + 1 < len(pieces) else None
            if closing is None or closing.kind not in ("close", "null"):
                waiting.pop()
                out[-1] = _cases(piece)
            else:
                out.append(piece)
        else:
            out.append(piece)
    return out


def _match(left: Piece, right: Piece) -> bool:
    """Whether two fences can be a pair; intervals such as ]a, b] or [a, b) may mix brackets."""
    if left.kind == "bar" or right.kind == "bar":
        return left.raw == right.raw or left.is_stretchy is True
    return True


def _close(out: list[Piece], start: int, right: Piece) -> None:
    """Makes one pair of the fence at `start` of `out`, what follows it, and `right`."""
    left, inner = out[start], out[start + 1 :]
    if len(inner) == 1:
        if right.kind == "null" and left.tex == "\\{" and inner[0].kind == "table":
            del out[start:]
            out.append(_cases(inner[0]))
            return
        made = _around(left, inner[0], right)
        if made is not None:
            del out[start:]
            out.append(made)
            return
    is_tall = any(piece.is_tall for piece in inner)
    stretches = left.is_stretchy is not False and right.is_stretchy is not False
    if right.kind == "null" or (is_tall and stretches):
        first = join("\\left", left.tex) if left.tex else "\\left."
        last = join("\\right", right.tex) if right.tex else "\\right."
        tex = join(join(first, _joined(_words(inner)).strip()), last)
        del out[start:]
        out.append(Piece(tex, is_tall=is_tall))
        return
    # A fence alone says nothing; ordinary brackets stay as they are.
    out[start] = Piece(left.tex, kind="open", raw=left.raw, is_stretchy=left.is_stretchy)
    out.append(Piece(right.tex, kind="close", raw=right.raw, is_stretchy=right.is_stretchy))


def _words(pieces: list[Piece]) -> list[Piece]:
    """Neighbours of one font in one command, words that are applied as operators, (mod n) as \\pmod."""
    out: list[Piece] = []
    pieces = list(pieces)
    for index, piece in enumerate(pieces):
        following = pieces[index + 1] if index + 1 < len(pieces) else None
        if piece.kind in ("word", "font") and len(piece.parts) == 2:
            applied = following is not None and (
                following.kind == "apply"
                or (piece.kind == "word" and following.tex.startswith(("(", "\\left(")))
            )
            last = out[-1] if out else None
            if (
                last is not None
                and last.kind in ("word", "font")
                and len(last.parts) == 2
                and last.parts[0] == piece.parts[0]
                and not (applied and piece.kind == "word")
            ):
                inner = join(last.parts[1], piece.parts[1])
                out[-1] = Piece(
                    f"{piece.parts[0]}{{{inner}}}", kind="font", parts=(piece.parts[0], inner)
                )
            elif applied and piece.parts[0] == "\\mathrm" and piece.raw != "mod":
                out.append(
                    Piece(f"\\operatorname{{{piece.parts[1]}}}", kind="function", raw=piece.raw)
                )
            else:
                out.append(piece)
        elif (
            piece.tex == "\\_"
            and out
            and out[-1].kind == "word"
            and following
            and following.kind == "word"
        ):
            # Names of programs: rel_entr is one word.
            inner = f"{out.pop().parts[1]}\\_{following.parts[1]}"
            pieces[index + 1] = replace(
                following, tex=f"\\mathrm{{{inner}}}", parts=("\\mathrm", inner)
            )
        elif piece.kind != "apply":
            out.append(piece)
    return out


def _joined(pieces: list[Piece]) -> str:
    """TeX of pieces side by side, blanks around relations and binary operators."""
    tex = ""
    before = ""
    for piece in pieces:
        part = piece.tex
        kind = piece.kind
        if not part:
            continue
        if kind == "relation" or (kind == "binary" and before not in _BEFORE_UNARY):
            tex = f"{_trimmed(tex)} {part} " if tex else f"{part} "
        elif kind == "punctuation" and piece.raw in (",", ";"):
            tex = f"{_trimmed(tex)}{part} "
        elif kind == "function":
            gap = " " if tex[-1:].isalnum() or tex[-1:] in ")]}" else ""
            tex += f"{gap}{part} "
        elif tex.endswith(" ") and not tex.endswith("\\ ") and _clings(part, kind, before):
            tex = tex[:-1] + part
        else:
            tex = join(tex, part)
        before = kind
    return _trimmed(tex).lstrip(" ")


def _trimmed(tex: str) -> str:
    """TeX without blanks at its end, but for the one of a control space."""
    bare = tex.rstrip(" ")
    return bare + " " if bare.endswith("\\") and not bare.endswith("\\\\") else bare


def _clings(part: str, kind: str, before: str) -> bool:
    """Whether no blank stands in front of a part: (x) of a function, scripts, closing brackets."""
    return part[0] in "^_" or kind == "close" or (before == "function" and part[0] in "([")
