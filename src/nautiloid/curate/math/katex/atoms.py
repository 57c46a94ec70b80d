"""Leaves of a KaTeX layout: letters, numbers, operators, spaces, the stroke of a negation."""

from __future__ import annotations

import re

from nautiloid.curate.math.katex.spans import Span
from nautiloid.curate.math.tree import Element

# KaTeX draws this character in front of what it negates.
NOT = "\ue020"

_MARGIN = re.compile(r"margin-right:\s*(-?[0-9.]{1,12})em")
_FONTS = {
    "mathrm": "normal", "mathbf": "bold", "mathit": "italic-word", "mathbb": "double-struck",
    "mathcal": "script", "mathscr": "script", "mathfrak": "fraktur", "mathsf": "sans-serif",
    "mathtt": "monospace", "boldsymbol": "bold-italic", "mathboldfrak": "bold-fraktur",
    "textrm": "normal", "textbf": "bold", "textit": "italic-word", "texttt": "monospace",
    "textsf": "sans-serif", "amsrm": "", "mathsfit": "sans-serif-italic", "mathboldsf": "bold-sans-serif",
}  # fmt: skip
_OPERATORS = frozenset(("mbin", "mrel", "mopen", "mclose", "mpunct"))
_DIGITS = re.compile(r"[0-9]+(?:\.[0-9]+)?|.", re.DOTALL)


def tokens(text: str, names: tuple[str, ...]) -> list[Element]:
    """Token elements of the characters of one span."""
    text = text.replace("\u200b", "").replace("\n", "")
    if not text:
        return []
    if "mop" in names:
        if "op-symbol" in names or not text[0].isalpha():
            return [Element("mo", {}, text=char) for char in text]
        return [Element("mi", {}, text=text.replace("\xa0", " "))]
    if not _OPERATORS.isdisjoint(names):
        form = "prefix" if "mopen" in names else "postfix" if "mclose" in names else ""
        return [_operator(char, form) for char in text]
    if "minner" in names:
        return [Element("mo", {}, text=char) for char in text]
    font = next((_FONTS[name] for name in names if name in _FONTS), "")
    if font in ("normal", "italic-word") and len(text) > 1 and text.isalpha():
        return [Element("mi", {"mathvariant": font.removesuffix("-word")}, text=text)]
    return [_atom(part, font) for part in _DIGITS.findall(text)]


def _operator(char: str, form: str) -> Element:
    return Element("mo", {"form": form, "stretchy": "false"} if form else {}, text=char)


def _atom(part: str, font: str) -> Element:
    attributes: dict[str, str | None] = {}
    if font and font != "italic-word":
        attributes["mathvariant"] = font
    if part[0].isdigit():
        return Element("mn", attributes, text=part)
    if part == "\xa0" or part == " ":
        return Element("mtext", {}, text=" ")
    if part[0].isalpha():
        return Element("mi", attributes, text=part)
    # Bars and slashes among ordinary atoms.
    return Element("mo", {"stretchy": "false"}, text=part)


def space(span: Span) -> list[Element]:
    """A space that the author wrote, or a line break."""
    if "newline" in span.names:
        return [Element("mspace", {"linebreak": "newline"})]
    margin = _MARGIN.search(span.node.attributes.get("style") or "")
    # Spaces around relations and operators are made anew; only quads were written by the author.
    width = float(margin[1]) if margin else 0.0
    return [Element("mspace", {"width": f"{width}em"})] if width >= 0.9 else []


def stroked(span: Span) -> list[Element]:
    """A box of no width: the stroke in front of what it negates, or what it holds."""
    text = span.node.text(deep=True)
    return [Element("mo", {}, text=NOT)] if NOT in text else span.inside()


def negated(elements: list[Element]) -> list[Element]:
    """Elements in which a stroke is laid over the one behind it."""
    if not any(element.text == NOT for element in elements):
        return elements
    out: list[Element] = []
    for element in elements:
        if out and out[-1].text == NOT and element.tag == "mspace":
            continue
        if out and out[-1].text == NOT and element.tag in ("mo", "mi"):
            out[-1] = Element("mo", {}, text=element.text + "\u0338")
        else:
            out.append(element)
    return out
