r"""Formulas that docutils (and eLyXer before it) sets in plain HTML: `<span class="formula">`.

Classes of the spans name fractions, roots, scripts, limits and arrays; letters are in italics.
"""

from __future__ import annotations

import re
import unicodedata

from selectolax.lexbor import LexborHTMLParser, LexborNode

from nautiloid.curate.math.formula import OPEN
from nautiloid.curate.math.mathml import convert
from nautiloid.curate.math.strokes import fence
from nautiloid.curate.math.tree import Element

QUERY = "span.formula, div.formula"
_MAX_DEPTH = 40
_TOKEN = re.compile(r"[0-9]+(?:\.[0-9]+)?|[A-Za-z]{2,}|\S[\u0300-\u036f\u20d0-\u20ff]*|\s+")
_FONTS = {
    "mathbf": "bold", "mathrm": "normal", "mathbb": "double-struck", "mathcal": "script",
    "mathscr": "script", "mathfrak": "fraktur", "mathsf": "sans-serif", "mathtt": "monospace",
    "mathit": "italic",
}  # fmt: skip


def made_pages(html: str) -> bool:
    """Whether docutils or eLyXer made a page."""
    return "formula" in html and ("ocutils" in html or "eLyXer" in html)


def formulas(tree: LexborHTMLParser) -> list[LexborNode]:
    """Elements that hold such a formula, none inside another or read by another converter."""
    found: list[LexborNode] = []
    inside: set[int] = set()
    for node in tree.css(QUERY):
        if node.mem_id in inside:
            continue
        inside.update(inner.mem_id for inner in node.css(QUERY))
        if OPEN not in node.text(deep=True) and node.css_first(".unknown") is None:
            found.append(node)
    return found


def to_tex(node: LexborNode) -> str:
    """TeX of a `.formula` element."""
    return convert(Element("math", {}, _content(node, "", 0)))


def _row(elements: list[Element]) -> Element:
    return elements[0] if len(elements) == 1 else Element("mrow", {}, elements)


def _content(node: LexborNode, font: str, depth: int) -> list[Element]:
    out: list[Element] = []
    child = node.first_child
    while child is not None:
        if child.tag == "-text":
            out += _tokens(child.text(deep=False) or "", font)
        elif depth < _MAX_DEPTH:
            _add(out, child, font, depth + 1)
        else:
            out.append(Element("mtext", {}, text=child.text(deep=True)))
        child = child.next
    return out


def _add(out: list[Element], node: LexborNode, font: str, depth: int) -> None:
    """Appends what an element says; scripts take the last of `out` as their base."""
    names = (node.attributes.get("class") or "").split()
    tag = node.tag
    if "ignored" in names or "radical" in names:
        return
    if tag in ("sup", "sub"):
        base = out.pop() if out else Element("mrow", {})
        out.append(
            Element(
                "msup" if tag == "sup" else "msub", {}, [base, _row(_content(node, font, depth))]
            )
        )
    elif "scripts" in names:
        base = out.pop() if out else Element("mrow", {})
        out.append(_scripted(base, node, font, depth, ("msub", "msup", "msubsup")))
    elif "limits" in names:
        middle = node.css_first("span.limit")
        base = _row(_content(middle, font, depth)) if middle is not None else Element("mrow", {})
        out.append(_scripted(base, node, font, depth, ("munder", "mover", "munderover")))
    elif "fraction" in names:
        parts = [_part(node, name, font, depth) for name in (".numerator", ".denominator")]
        out.append(Element("mfrac", {}, parts))
    elif "sqrt" in names:
        out.append(Element("msqrt", {}, [_part(node, ".root", font, depth)]))
    elif "text" in names:
        out.append(Element("mtext", {}, text=node.text(deep=True)))
    elif "array" in names and (bracket := node.css_first(".bracket")) is not None:
        form = "postfix" if "align-r" in (bracket.attributes.get("class") or "") else "prefix"
        char = fence([], "".join(node.text(deep=True).split()))
        out.append(Element("mo", {"fence": "true", "form": form}, text=char))
    elif "embellished" in names:
        out.append(_accented(node, font, depth))
    elif "overline" in names or "underline" in names:
        line = Element("mo", {"stretchy": "true"}, text="\u203e")
        tag = "mover" if "overline" in names else "munder"
        out.append(Element(tag, {}, [_row(_content(node, font, depth)), line]))
    elif "environment" in names or "array" in names or "bracketcases" in names:
        out.append(_table(node, font, depth, "align" in names))
    elif tag == "i":
        out += [
            element
            for char in _CLUSTER.findall(node.text(deep=True))
            for element in _tokens(char, font)
        ]
    elif tag == "b":
        out += _content(node, "bold", depth)
    else:
        inner = next((_FONTS[name] for name in names if name in _FONTS), font)
        out += _content(node, inner, depth)


# What docutils prints above a letter -> the accent.
_ACCENTS = {"\u2012": "\u00af", "\u2013": "\u00af", "\u2014": "\u00af"}
_CLUSTER = re.compile(r"\S[\u0300-\u036f\u20d0-\u20ff]*")


def _part(node: LexborNode, query: str, font: str, depth: int) -> Element:
    found = node.css_first(query)
    return _row(_content(found, font, depth)) if found is not None else Element("mrow", {})


def _scripted(
    base: Element, node: LexborNode, font: str, depth: int, tags: tuple[str, str, str]
) -> Element:
    """`base` with the first `sub` and `sup` among the children of `node`."""
    found: dict[str, Element] = {}
    child = node.first_child
    while child is not None:
        if child.tag in ("sub", "sup"):
            found.setdefault(child.tag, _row(_content(child, font, depth)))
        child = child.next
    below, above = found.get("sub"), found.get("sup")
    if below is not None and above is not None:
        return Element(tags[2], {}, [base, below, above])
    if below is not None:
        return Element(tags[0], {}, [base, below])
    return Element(tags[1], {}, [base, above]) if above is not None else base


def _accented(node: LexborNode, font: str, depth: int) -> Element:
    mark, base = node.css_first("sup"), node.css_first(".base")
    if mark is None or base is None:
        return _row(_content(node, font, depth))
    char = mark.text(deep=True).strip()
    accent = Element("mo", {"stretchy": "false"}, text=_ACCENTS.get(char, char))
    return Element("mover", {"accent": "true"}, [_row(_content(base, font, depth)), accent])


def _table(node: LexborNode, font: str, depth: int, is_aligned: bool) -> Element:
    rows: list[Element] = []
    for line in node.css(".arrayrow"):
        cells = [
            Element("mtd", {}, _content(cell, font, depth))
            for cell in line.css(".arraycell, .case")
        ]
        if any(cell.children for cell in cells):
            rows.append(Element("mtr", {}, cells))
    return Element("mtable", {"class": "align"} if is_aligned else {}, rows)


def _tokens(text: str, font: str) -> list[Element]:
    out: list[Element] = []
    attributes: dict[str, str | None] = {"mathvariant": font} if font else {}
    for part in _TOKEN.findall(text):
        if part.isspace():
            continue
        if part[0].isdigit():
            out.append(Element("mn", dict(attributes), text=part))
            continue
        plain = unicodedata.normalize("NFD", part) if not part.isascii() else part
        if len(plain) > 1 and unicodedata.combining(plain[1]) and plain[0].isalpha():
            accent = Element("mo", {"stretchy": "false"}, text=plain[1])
            out.append(
                Element("mover", {}, [Element("mi", dict(attributes), text=plain[0]), accent])
            )
        elif part[0].isalpha():
            out.append(Element("mi", dict(attributes), text=part))
        else:
            out.append(Element("mo", {}, text=part))
    return out
