"""Formulas kept in each encoding, for any tool: pages of 60 formulas whose TeX is known.

The pages lie in `tests/data/encodings`, made by `make.py` and `make.mjs` there. Twenty formulas were
for development, forty are counted.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nautiloid.curate.math.normal import normalise

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "data" / "encodings"
# The encodings of the table; `mathml_katex` is beyond it.
ENCODINGS = (
    "delimiters", "dollars", "container", "code", "script", "script_display", "mathml",
    "mathml_alttext", "mathml_annotation", "wikipedia", "katex", "katex_html", "mathjax_chtml",
    "mathjax_svg", "image_alt", "image_wordpress", "image_codecogs", "data_expr",
)  # fmt: skip
BEFORE = "number {} the authors of the survey found after some work that"
AFTER = "holds for number {},"
_MATH = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]|`+([^`]+)`+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Kept:
    """What one tool kept of the counted formulas of one encoding.

    Args:
        exact: Share whose normal form is in the region between its two marks, once or more often.
        clean: Share for which that region is the formula and nothing else.
        inflation: Characters of the regions over characters of the TeX.
    """

    exact: float
    clean: float
    inflation: float


def formulas() -> tuple[list[str], int]:
    """TeX of all formulas, and how many of them, from the first, were for development."""
    data = json.loads((FOLDER / "formulas.json").read_text(encoding="utf-8"))
    return [one["tex"] for one in data["formulas"]], data["development"]


def page(encoding: str) -> str:
    """Source of the page in one encoding."""
    return (FOLDER / f"{encoding}.html").read_text(encoding="utf-8")


def region(text: str, index: int) -> str:
    """What stands between the two marks of a formula, "" where a mark is lost."""
    start = text.find(BEFORE.format(index))
    if start < 0:
        return ""
    start += len(BEFORE.format(index))
    end = text.find(AFTER.format(index), start)
    return text[start:end] if end >= 0 else ""


def kept(extract: Callable[[str], str], encoding: str) -> Kept:
    """How many of the counted formulas survive `extract` (source of a page to text)."""
    truth, development = formulas()
    # Some tools break lines; the marks are one line.
    text = " ".join(extract(page(encoding)).split())
    exact = clean = got = 0
    counted = range(development, len(truth))
    for index in counted:
        found = region(text, index).strip()
        got += len(found)
        states = _is_in(truth[index], found)
        exact += states[0]
        clean += states[1]
    total = len(counted)
    return Kept(exact / total, clean / total, got / sum(len(truth[index]) for index in counted))


def _is_in(tex: str, found: str) -> tuple[bool, bool]:
    """Whether the formula is in a region, and whether it is all of it.

    Generous: a region is read as a whole, unescaped from HTML and from Markdown, and formula by formula.
    """
    if not found:
        return False, False
    wanted = normalise(tex)
    bare = found.strip("`")
    if normalise(bare) == wanted:
        return True, True
    unescaped = html.unescape(found)
    readings = [unescaped, re.sub(r"\\([_*<>\[\]#])", r"\1", unescaped)]
    readings += [next(filter(None, match.groups())) for match in _MATH.finditer(unescaped)]
    squeezed = "".join(tex.split())
    is_exact = squeezed in "".join(unescaped.split()) or any(
        wanted in normalise(one) for one in readings
    )
    return is_exact, False
