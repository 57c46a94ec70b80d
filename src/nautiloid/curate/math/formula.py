"""One recovered formula, and the marks that stand for formulas while a page becomes text."""

from __future__ import annotations

import re
from dataclasses import dataclass

# A longer "formula" is a page that lost a delimiter; its text stays what it was.
MAX_CHARS = 20_000

# A formula is OPEN index CLOSE while a page becomes text. Icon fonts use such characters too: a page
# loses its CLOSE in `Recovery.prepare`, so it cannot write a mark. Characters of code that must not be
# taken for delimiters become noncharacters, which no text may contain.
OPEN, CLOSE = "\ue000", "\ue001"
MARK = re.compile(f"{OPEN}([0-9]{{1,9}}){CLOSE}")
SHIELDS = {"$": "\ufdd0", "\\": "\ufdd1", "`": "\ufdd2", "[": "\ufdd3"}
SHIELD = str.maketrans(SHIELDS)

_BLANK = str.maketrans(
    {"\x01": None, "\xa0": " ", "\u200b": None, "\u2060": None, "\ufeff": None, "\r": "\n"}
)
_COMMENT = re.compile(r"(?<!\\)%[^\n]*\n[ \t]*")
# Begun where white space begins: a long run without a line break is read once.
_LINES = re.compile(r"(?<![ \t])[ \t]*\n[ \t\n]*")
_SPACES = re.compile(r"[ \t]{2,}")
_COLUMN = re.compile(r"\\(?:begin|end)\{[^{}]*\}|\\.|[{}&]", re.DOTALL)
_STYLE = re.compile(r"\\(?:displaystyle|textstyle)(?![A-Za-z])\s*")


@dataclass(frozen=True, slots=True)
class Formula:
    """One formula.

    Args:
        tex: TeX without delimiters.
        is_display: Whether it stands on its own line.
        encoding: How the page wrote it, a fixed word: `script`, `katex`, `mathml`, ...
    """

    tex: str
    is_display: bool
    encoding: str


def clean(tex: str, is_display: bool) -> str:
    r"""TeX fit for `$...$`: comments and empty lines gone, one line where it is inline.

    >>> clean(" a\n\n +b ", False)
    'a +b'
    """
    tex = tex.translate(_BLANK).strip()
    if "\n" in tex:
        if "%" in tex:
            tex = _uncommented(tex)
        tex = _LINES.sub("\n" if is_display else " ", tex)
    if "  " in tex:
        tex = _SPACES.sub(" ", tex)
    # A line break or control space at the end shows nothing, and could escape the delimiter.
    return tex.rstrip("\\ ") if tex.endswith("\\") else tex


def _uncommented(tex: str) -> str:
    """TeX without comments; one on the last line is kept, for nothing ends it."""
    last = tex[tex.rfind("\n") + 1 :].lstrip(" \t")
    return _COMMENT.sub("", tex[: len(tex) - len(last)]) + last


def aligned(tex: str) -> str:
    r"""TeX whose columns stand in an environment: Sphinx and others give the rows alone.

    >>> aligned(r"a &= b \\ &= c")
    '\\begin{aligned}a &= b \\\\ &= c\\end{aligned}'
    """
    if "&" not in tex:
        return tex
    depth = 0
    for match in _COLUMN.finditer(tex):
        token = match.group()
        if token == "&":
            if depth <= 0:
                return f"\\begin{{aligned}}{tex}\\end{{aligned}}"
        elif token == "{" or token.startswith("\\begin{"):
            depth += 1
        elif token == "}" or token.startswith("\\end{"):
            depth -= 1
    return tex


def unwrap_style(tex: str) -> str:
    r"""TeX without the `{\displaystyle ...}` that MediaWiki puts around every formula.

    >>> unwrap_style(r"{\displaystyle x^{2}}")
    'x^{2}'
    """
    tex = tex.strip()
    if tex.startswith(("{\\displaystyle", "{\\textstyle")):
        depth = 0
        for index, char in enumerate(tex):
            if char == "{" and (index == 0 or tex[index - 1] != "\\"):
                depth += 1
            elif char == "}" and tex[index - 1] != "\\":
                depth -= 1
                if depth == 0:
                    if index == len(tex) - 1:
                        return _STYLE.sub("", tex[1:-1], count=1).strip()
                    break
    if tex.startswith("\\displaystyle"):
        return _STYLE.sub("", tex, count=1).strip()
    return tex
