r"""Words of a text regardless of its notation: `x\u00b2`, `x^2` and `$x^{2}$` are the words x and 2."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from nautiloid.curate.math.symbols import tables
from nautiloid.curate.text.spans import find_spans

_WORD = re.compile(
    r"\\(?P<command>[A-Za-z]+)\*?(?:\s*\{(?P<environment>[a-z]{1,20}\*?)\})?|(?P<word>[^\W\d_]+|\d+)"
)
# Commands that arrange or style: a model that turns plain notation into TeX has to add them.
_LAYOUT = frozenset(
    [
        "frac",
        "dfrac",
        "tfrac",
        "cfrac",
        "left",
        "right",
        "big",
        "Big",
        "bigg",
        "Bigg",
        "bigl",
        "bigr",
        "Bigl",
        "Bigr",
        "biggl",
        "biggr",
        "middle",
        "text",
        "textrm",
        "textbf",
        "textit",
        "mathrm",
        "mathbf",
        "mathit",
        "mathsf",
        "mathtt",
        "mathbb",
        "mathcal",
        "mathscr",
        "mathfrak",
        "boldsymbol",
        "bm",
        "operatorname",
        "mbox",
        "displaystyle",
        "textstyle",
        "scriptstyle",
        "limits",
        "nolimits",
        "quad",
        "qquad",
        "begin",
        "end",
        "hline",
        "label",
        "tag",
        "nonumber",
        "notag",
        "hspace",
        "vspace",
        "phantom",
        "underline",
        "ensuremath",
        "rm",
        "bf",
        "it",
        "cdot",
        "times",
    ]
)


def words(text: str) -> list[str]:
    """Letters and numbers of prose, formulas and code in order, in lower case.

    >>> words("Let x\u00b2 \u2264 \u03b1.") == words(r"Let $x^{2} \\le \\alpha$.")
    True
    """
    found: list[str] = []
    at = 0
    for span in find_spans(text, is_foreign=True):
        if span.is_formula:
            found += _plain(text[at : span.start])
            found += _formula(text[span.start : span.stop])
            at = span.stop
    return found + _plain(text[at:])


def _plain(text: str) -> list[str]:
    return [match.group().lower() for match in re.finditer(r"[^\W\d_]+|\d+", _spelled(text))]


def _formula(text: str) -> list[str]:
    found: list[str] = []
    synonyms = tables()[1]
    for match in _WORD.finditer(_spelled(text)):
        command = match["command"]
        if command is None:
            found.append(match["word"].lower())
            continue
        name = synonyms.get(command, "\\" + command)
        is_name = name.startswith("\\") and name[1:].isalpha()
        shown = name[1:] if is_name else command
        if command not in _LAYOUT and shown not in _LAYOUT:
            found.append(shown.lower())
        if match["environment"] and command not in ("begin", "end"):
            found.append(match["environment"].rstrip("*"))
    return found


def _spelled(text: str) -> str:
    """Characters that have a TeX name as that name, others in compatibility form."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", text.translate(_names()))


@cache
def _names() -> dict[int, str]:
    symbols, synonyms = tables()
    names: dict[int, str] = {}
    for char, tex in symbols.items():
        name = tex.strip()
        if len(char) == 1 and not char.isascii() and re.fullmatch(r"\\[A-Za-z]+", name):
            name = synonyms.get(name[1:], name).strip("\\ ")
            names[ord(char)] = f" {name} " if name.isalpha() and name not in _LAYOUT else " "
    return names
