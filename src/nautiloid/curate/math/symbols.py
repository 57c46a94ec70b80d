r"""Characters as TeX commands, from the tables that KaTeX and MathJax draw them by.

`symbols.json` holds `symbols` (character -> TeX) and `synonyms` (command -> the TeX that draws the
same character, such as `le` -> `\leq`).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib.resources import files


@cache
def tables() -> tuple[dict[str, str], dict[str, str]]:
    """Character -> TeX, and command without backslash -> TeX of its synonym."""
    path = files("nautiloid.curate.math").joinpath("symbols.json")
    data = json.loads(path.read_text(encoding="ascii"))
    return data["symbols"], data["synonyms"]


_PLAIN_NAMES = (
    "arccos arcsin arctan arg cos cosh cot coth csc deg dim exp hom ker lg ln log sec sin sinh "
    "tan tanh arctg ctg cth sh ch tg th"
)
_LIMIT_NAMES = "det gcd inf lim liminf limsup max min Pr sup injlim projlim"
_FOREIGN = frozenset(("arctg", "ctg", "cth", "sh", "ch", "tg", "th"))
# Operators that TeX names; `True` where limits go below in display style.
FUNCTIONS = {
    **dict.fromkeys(_PLAIN_NAMES.split(), False),
    **dict.fromkeys(_LIMIT_NAMES.split(), True),
}
_NAMED = frozenset(FUNCTIONS) - _FOREIGN

_SPECIAL = {
    "{": "\\{", "}": "\\}", "%": "\\%", "#": "\\#", "&": "\\&", "$": "\\$", "_": "\\_",
    "\\": "\\backslash", "~": "\\sim", "^": "\\hat{}", "\n": " ", "\t": " ",
}  # fmt: skip
_TEXT_SPECIAL = str.maketrans(
    {
        "{": "\\{", "}": "\\}", "%": "\\%", "#": "\\#", "&": "\\&", "$": "\\$", "_": "\\_",
        "\\": "\\textbackslash ", "~": "\\textasciitilde ", "^": "\\textasciicircum ",
        "\u2019": "'", "\u2018": "`", "\xa0": " ", "\u200b": "", "\u2062": "", "\u2061": "",
    }
)  # fmt: skip

_ESCAPED = re.compile(r"\\([_%&#$])")
# Characters looked at for a command at the end of a piece.
_COMMAND_CHARS = 40
_COMMAND_END = re.compile(r"(?<!\\)(?:\\\\)*\\[A-Za-z]+$")
# Laid over the character before it: negation.
_STROKE = "\u0338"

# Mathematical alphanumeric symbols: first code point of each alphabet of 52 letters.
_ALPHABETS = (
    (0x1D400, "\\mathbf"), (0x1D434, ""), (0x1D468, "\\boldsymbol"), (0x1D49C, "\\mathcal"),
    (0x1D4D0, "\\mathcal"), (0x1D504, "\\mathfrak"), (0x1D538, "\\mathbb"), (0x1D56C, "\\mathfrak"),
    (0x1D5A0, "\\mathsf"), (0x1D5D4, "\\mathsf"), (0x1D608, "\\mathsf"), (0x1D63C, "\\mathsf"),
    (0x1D670, "\\mathtt"),
)  # fmt: skip
_DIGITS = ("\\mathbf", "\\mathbb", "\\mathsf", "\\mathsf", "\\mathtt")

_VARIANTS = {
    "normal": "\\mathrm",
    "bold": "\\mathbf",
    "italic": "",
    "bold-italic": "\\boldsymbol",
    "double-struck": "\\mathbb",
    "script": "\\mathcal",
    "bold-script": "\\mathcal",
    "fraktur": "\\mathfrak",
    "bold-fraktur": "\\mathfrak",
    "sans-serif": "\\mathsf",
    "bold-sans-serif": "\\mathsf",
    "sans-serif-italic": "\\mathsf",
    "sans-serif-bold-italic": "\\mathsf",
    "monospace": "\\mathtt",
    "-tex-calligraphic": "\\mathcal",
    "-tex-bold-calligraphic": "\\mathcal",
    "-tex-oldstyle": "\\mathnormal",
    "-tex-mathit": "\\mathit",
    "-tex-variant": "",
}


def alphanumeric(char: str) -> tuple[str, str] | None:
    """Font command and plain letter of a mathematical alphanumeric symbol, None for other characters."""
    code = ord(char)
    if not 0x1D400 <= code <= 0x1D7FF:
        return None
    plain = unicodedata.normalize("NFKC", char)
    if code >= 0x1D7CE:
        return _DIGITS[(code - 0x1D7CE) // 10], plain
    if code >= 0x1D6A8:
        # Five Greek alphabets of 58: bold, italic, bold italic, sans bold, sans bold italic.
        font = ("\\boldsymbol", "", "\\boldsymbol", "\\boldsymbol", "\\boldsymbol")
        return font[(code - 0x1D6A8) // 58], plain
    command = ""
    for first, name in _ALPHABETS:
        if code >= first:
            command = name
    return command, plain


def char_tex(char: str) -> str:
    """TeX of one character of a formula; the character itself where TeX has no name for it."""
    if char.isascii():
        return _SPECIAL.get(char, char)
    symbols = tables()[0]
    tex = symbols.get(char)
    if tex is not None:
        return tex
    styled = alphanumeric(char)
    if styled is not None:
        font, plain = styled
        inner = symbols.get(plain, plain)
        return f"{font}{{{inner}}}" if font else inner
    plain = unicodedata.normalize("NFKD", char)
    if len(plain) == 2 and plain[1] == _STROKE:
        return join("\\not", char_tex(plain[0]))
    if plain != char and len(plain) == 1:
        return char_tex(plain)
    return char


def text_tex(text: str) -> str:
    r"""TeX of a run of characters in math mode, words kept apart.

    >>> text_tex("2\u03c0r")
    '2\\pi r'
    """
    if text.isascii() and text.isalnum():
        return text
    parts: list[str] = []
    text = unicodedata.normalize("NFC", text)
    before = ""
    for index, char in enumerate(text):
        if char == _STROKE:
            continue
        if text[index + 1 : index + 2] == _STROKE:
            parts.append("\\not")
            before = "\\not"
        part = char_tex(char)
        if part[:1].isalpha() and before[:1] == "\\" and before[-1:].isalpha():
            parts.append(" ")
        parts.append(part)
        before = part
    return "".join(parts)


def quoted(text: str, command: str = "\\text") -> str:
    r"""Prose inside a formula.

    >>> quoted("if 50% left")
    '\\text{if 50\\% left}'
    """
    if "\\" in text:
        # Converters leave what TeX escaped as it was.
        text = _ESCAPED.sub(r"\1", text)
    return f"{command}{{{text.translate(_TEXT_SPECIAL)}}}"


def join(left: str, right: str) -> str:
    r"""Two pieces of TeX next to each other, with the blank that ends a command name.

    >>> join(r"\pi", "r"), join(r"\pi", "2")
    ('\\pi r', '\\pi2')
    """
    if right[:1].isalpha() and right[:1].isascii() and _ends_in_command(left):
        return f"{left} {right}"
    return left + right


def joined(parts: Iterable[str]) -> str:
    r"""Any number of pieces next to each other, in linear time.

    >>> joined([r"\pi", "r", "", r"\pi", "2"])
    '\\pi r\\pi2'
    """
    out: list[str] = []
    tail = ""
    for part in parts:
        if not part:
            continue
        if part[0].isalpha() and part[0].isascii() and _ends_in_command(tail):
            part = " " + part
        out.append(part)
        tail = (tail + part)[-_COMMAND_CHARS - 1 :]
    return "".join(out)


def _ends_in_command(tex: str) -> bool:
    return (
        tex[-1:].isalpha()
        and _COMMAND_END.search(tex, max(len(tex) - _COMMAND_CHARS, 0)) is not None
    )


def is_named(word: str) -> bool:
    """Whether TeX has a command for the operator `word`, such as `sin`."""
    return word in _NAMED


def font_of(variant: str) -> str | None:
    """Font command of a `mathvariant`, "" for italic, None for one that is not known."""
    return _VARIANTS.get(variant)
