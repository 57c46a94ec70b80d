r"""AsciiMath to TeX.

The grammar is that of asciimath.org: a formula is a row of simple expressions, each with an optional
subscript and superscript; `/` makes a fraction of its neighbours; brackets of a matrix hold rows.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from nautiloid.curate.math.symbols import FUNCTIONS, char_tex, join, joined, quoted

# Brackets nested deeper than this stay text.
_MAX_DEPTH = 60

_OPEN = {
    "(": "(",
    "[": "[",
    "{": "\\{",
    "(:": "\\langle",
    "{:": "",
    "langle": "\\langle",
    "<<": "\\langle",
}
_CLOSE = {
    ")": ")",
    "]": "]",
    "}": "\\}",
    ":)": "\\rangle",
    ":}": "",
    "rangle": "\\rangle",
    ">>": "\\rangle",
}
_BARS = {"|": "|", "||": "\\|"}
# Commands of one argument: TeX before and behind it.
_UNARY = {
    "sqrt": ("\\sqrt{", "}"), "hat": ("\\hat{", "}"), "bar": ("\\overline{", "}"),
    "overline": ("\\overline{", "}"), "vec": ("\\vec{", "}"), "dot": ("\\dot{", "}"),
    "ddot": ("\\ddot{", "}"), "tilde": ("\\tilde{", "}"), "ul": ("\\underline{", "}"),
    "underline": ("\\underline{", "}"), "ubrace": ("\\underbrace{", "}"),
    "underbrace": ("\\underbrace{", "}"), "obrace": ("\\overbrace{", "}"),
    "overbrace": ("\\overbrace{", "}"), "abs": ("\\left|", "\\right|"),
    "floor": ("\\left\\lfloor ", "\\right\\rfloor"), "ceil": ("\\left\\lceil ", "\\right\\rceil"),
    "norm": ("\\left\\|", "\\right\\|"), "bb": ("\\mathbf{", "}"), "mathbf": ("\\mathbf{", "}"),
    "bbb": ("\\mathbb{", "}"), "mathbb": ("\\mathbb{", "}"), "cc": ("\\mathcal{", "}"),
    "mathcal": ("\\mathcal{", "}"), "tt": ("\\mathtt{", "}"), "mathtt": ("\\mathtt{", "}"),
    "fr": ("\\mathfrak{", "}"), "mathfrak": ("\\mathfrak{", "}"), "sf": ("\\mathsf{", "}"),
    "mathsf": ("\\mathsf{", "}"), "rm": ("\\mathrm{", "}"), "cancel": ("\\cancel{", "}"),
}  # fmt: skip
_BINARY = {
    "frac": ("\\frac{", "}{", "}"), "root": ("\\sqrt[", "]{", "}"),
    "stackrel": ("\\overset{", "}{", "}"), "overset": ("\\overset{", "}{", "}"),
    "underset": ("\\underset{", "}{", "}"), "color": ("{\\color{", "}", "}"),
}  # fmt: skip
_TEXT = ("text", "mbox")
_MATRICES = {
    ("(", ")"): "pmatrix",
    ("[", "]"): "bmatrix",
    ("|", "|"): "vmatrix",
    ("\\{", "\\}"): "Bmatrix",
}


@cache
def _constants() -> tuple[dict[str, str], frozenset[str], dict[str, tuple[int, ...]]]:
    """Constants with their TeX, all words, and lengths of words by first letter, longest first."""
    path = files("nautiloid.curate.math").joinpath("asciimath.json")
    table: dict[str, str] = json.loads(path.read_text(encoding="ascii"))
    for name in FUNCTIONS:
        table.setdefault(name, f"\\{name}")
    words = frozenset((*table, *_OPEN, *_CLOSE, *_BARS, *_UNARY, *_BINARY, *_TEXT))
    lengths: dict[str, set[int]] = {}
    for word in words:
        lengths.setdefault(word[0], set()).add(len(word))
    longest = {first: tuple(sorted(some, reverse=True)) for first, some in lengths.items()}
    return table, words, longest


def to_tex(source: str) -> str:
    r"""TeX of a formula in AsciiMath.

    >>> to_tex("sum_(i=1)^n i^3=((n(n+1))/2)^2")
    '\\sum_{i=1}^{n}i^{3}=\\left(\\frac{n(n+1)}{2}\\right)^{2}'
    """
    return _Parser(_tokens(source)).row(0).strip()


def _tokens(source: str) -> list[str]:
    _, words, lengths = _constants()
    out: list[str] = []
    index = 0
    while index < len(source):
        char = source[index]
        if char.isspace() or source.startswith("\\ ", index):
            index += 1 if char.isspace() else 2
            continue
        if char == '"':
            end = source.find('"', index + 1)
            end = len(source) if end < 0 else end
            out.append(f'"{source[index + 1 : end]}')
            index = end + 1
            continue
        if char.isdigit():
            end = index
            while end < len(source) and (
                source[end].isdigit()
                or (source[end] == "." and source[end + 1 : end + 2].isdigit())
            ):
                end += 1
            out.append(source[index:end])
            index = end
            continue
        word = char
        for length in lengths.get(char, ()):
            part = source[index : index + length]
            if part not in words:
                continue
            bracket = source[index + length : index + length + 1]
            if part in _TEXT and bracket and bracket in "({[":
                end = source.find(")}]"["({[".index(bracket)], index + length)
                end = len(source) if end < 0 else end
                out.append(f'"{source[index + length + 1 : end]}')
                index, word = end + 1, ""
                break
            if part not in _TEXT:
                word = part
                break
        if word:
            out.append(word)
            index += len(word)
    return out


class _Parser:
    """Recursive descent over tokens; depth is bounded."""

    def __init__(self, tokens: list[str]):
        self.tokens = tokens
        self.index = 0
        # Index of each opening bracket -> that of its closing one.
        self.ends: dict[int, int] = {}
        waiting: list[int] = []
        for index, token in enumerate(tokens):
            if token in _OPEN:
                waiting.append(index)
            elif token in _CLOSE and waiting:
                self.ends[waiting.pop()] = index

    def _peek(self) -> str:
        return self.tokens[self.index] if self.index < len(self.tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self.index += 1
        return token

    def row(self, depth: int, end: str = "") -> str:
        """Expressions up to a closing bracket, a bar that was asked for, or the end."""
        parts: list[str] = []
        while (token := self._peek()) and token != end:
            if token in _CLOSE:
                if depth:
                    break
                self.index += 1
                parts.append(_CLOSE[token])
                continue
            parts.append(self._fraction(depth))
        return joined(parts)

    def _fraction(self, depth: int) -> str:
        above = self._scripted(depth)
        if self._peek() != "/":
            return above
        self.index += 1
        below = self._scripted(depth) if self._peek() else ""
        return f"\\frac{{{_bare(above)}}}{{{_bare(below)}}}"

    def _scripted(self, depth: int) -> str:
        base = self._simple(depth)
        sub = sup = ""
        if self._peek() == "_":
            self.index += 1
            sub = _bare(self._simple(depth))
        if self._peek() == "^":
            self.index += 1
            sup = _bare(self._simple(depth))
        return base + (f"_{{{sub}}}" if sub else "") + (f"^{{{sup}}}" if sup else "")

    def _simple(self, depth: int) -> str:
        token = self._next()
        if not token:
            return ""
        if token in _OPEN or (
            token in _BARS
            and depth < _MAX_DEPTH
            and token in self.tokens[self.index : self.index + 200]
        ):
            return self._group(token, depth)
        if token[0] == '"':
            return quoted(token[1:])
        if token in _UNARY:
            before, behind = _UNARY[token]
            return f"{before}{_bare(self._simple(depth + 1) if depth < _MAX_DEPTH else '')}{behind}"
        if token in _BINARY and depth < _MAX_DEPTH:
            before, between, behind = _BINARY[token]
            first, second = _bare(self._simple(depth + 1)), _bare(self._simple(depth + 1))
            return f"{before}{first}{between}{second}{behind}"
        return (
            _constants()[0].get(token) or _BARS.get(token) or _CLOSE.get(token) or char_tex(token)
        )

    def _group(self, token: str, depth: int) -> str:
        left = _OPEN.get(token, _BARS.get(token, ""))
        if depth >= _MAX_DEPTH:
            return left
        if self._is_matrix(self.index - 1):
            return self._matrix(left, depth)
        inner = self.row(depth + 1, token if token in _BARS else "")
        closing = self._next()
        right = _BARS[token] if token in _BARS else _CLOSE.get(closing, "")
        tall = "\\frac" in inner or "\\begin" in inner or "\\sum" in inner
        if not closing or not (left and right):
            # {: and :} are brackets that do not show.
            if not left and not right:
                return f"{{{inner}}}"
            return f"\\left{left or '.'}{inner}\\right{right or '.'}" if closing else left + inner
        if tall:
            return join(f"\\left{left}", join(inner, f"\\right{right}"))
        return join(join(left, inner), right)

    def _is_matrix(self, start: int) -> bool:
        """Whether the bracket at `start` holds nothing but brackets with equally many entries each."""
        end = self.ends.get(start, -1)
        index = start + 1
        counts: list[int] = []
        while index < end:
            close = self.ends.get(index, -1)
            if self.tokens[index] not in ("(", "[") or close < 0 or close - index < 2:
                return False
            commas = 0
            inside = index + 1
            while inside < close:
                commas += self.tokens[inside] == ","
                inside = self.ends.get(inside, inside) + 1
            counts.append(commas)
            index = close + 1
            if index < end:
                if self.tokens[index] != ",":
                    return False
                index += 1
        if not counts or len(set(counts)) != 1:
            return False
        return len(counts) > 1 or counts[0] > 0

    def _matrix(self, left: str, depth: int) -> str:
        """The matrix whose outer bracket is behind us."""
        rows: list[str] = []
        while self._peek() in ("(", "["):
            end = self.ends[self.index]
            self.index += 1
            cells: list[list[str]] = [[]]
            while self.index < end:
                if self._peek() == ",":
                    self.index += 1
                    cells.append([])
                else:
                    cells[-1].append(self._fraction(depth + 1))
            self.index = end + 1
            rows.append(" & ".join(joined(cell) for cell in cells))
            if self._peek() == ",":
                self.index += 1
        right = _CLOSE.get(self._next(), "")
        body = " \\\\ ".join(rows)
        if left == "\\{" and not right:
            return f"\\begin{{cases}} {body} \\end{{cases}}"
        name = _MATRICES.get((left, right), "matrix")
        return f"\\begin{{{name}}} {body} \\end{{{name}}}"


def _bare(tex: str) -> str:
    """An argument without the brackets that only held it together."""
    for left, right in (
        ("\\left(", "\\right)"),
        ("(", ")"),
        ("{", "}"),
        ("[", "]"),
        ("\\{", "\\}"),
    ):
        if tex.startswith(left) and tex.endswith(right) and len(tex) > len(left):
            inner = tex[len(left) : len(tex) - len(right)]
            depth = 0
            for char in inner:
                depth += (char in "([{") - (char in ")]}")
                if depth < 0:
                    return tex
            return inner.strip()
    return tex
