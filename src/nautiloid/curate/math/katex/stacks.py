r"""What KaTeX stacks: scripts, fractions, roots, accents, limits, arrows with text, boxed formulas."""

from __future__ import annotations

from nautiloid.curate.math.katex.boxes import Box, boxes
from nautiloid.curate.math.katex.spans import Span, bare, children, class_names, outlines, row
from nautiloid.curate.math.katex.tables import table
from nautiloid.curate.math.strokes import stroke
from nautiloid.curate.math.tree import Element


def scripted(base: Element, span: Span) -> Element:
    """`base` with the scripts that stand in a span."""
    found = boxes(span.node)
    if not found:
        return base
    if len(found) >= 2:
        sub, sup = span.row(found[0].node), span.row(found[-1].node)
        return Element("msubsup", {}, [base, sub, sup])
    # A list with a second row reaches below the line: a subscript.
    first = next((child for child in children(span.node) if child.tag != "-text"), None)
    is_sub = first is not None and "vlist-t2" in class_names(first)
    return Element("msub" if is_sub else "msup", {}, [base, span.row(found[0].node)])


def fraction(span: Span) -> list[Element]:
    """`\\frac`, without a line `\\atop`."""
    found = boxes(span.node)
    lines = [box for box in found if "frac-line" in class_names(box.content)]
    parts = [box for box in found if box not in lines]
    if len(parts) < 2:
        return span.inside()
    attributes: dict[str, str | None] = {} if lines else {"linethickness": "0"}
    above, below = span.row(parts[-1].node), span.row(parts[0].node)
    return [Element("mfrac", attributes, [above, below])]


def root(span: Span) -> list[Element]:
    """A root, its index apart."""
    index: Element | None = None
    body: list[Element] = []
    for child in children(span.node):
        if child.tag == "-text":
            continue
        if "root" in class_names(child):
            found = boxes(child)
            index = span.row(found[0].node) if found else None
        else:
            for box in boxes(child):
                if box.node.css_first("svg") is None or "hide-tail" not in class_names(box.content):
                    body += span.content(box.node, span.depth)
    if index is not None:
        return [Element("mroot", {}, [row(body), index])]
    return [Element("msqrt", {}, body)]


def accented(span: Span) -> list[Element]:
    """An accent above or below."""
    base: Element | None = None
    accent: Element | None = None
    is_under = False
    for box in boxes(span.node):
        body = class_names(box.content)
        if "accent-body" in body or "svg-align" in box.names:
            is_under = base is None and "accent-body" not in body
            char, is_wide = _accent(box)
            accent = Element("mo", {"stretchy": "true" if is_wide else "false"}, text=char)
        elif base is None:
            base = span.row(box.node)
    if base is None or accent is None:
        return span.inside()
    return [Element("munder" if is_under else "mover", {"accent": "true"}, [base, accent])]


def _accent(box: Box) -> tuple[str, bool]:
    """The character of an accent, and whether it stretches."""
    drawn = outlines(box.node)
    if drawn:
        char = stroke(drawn)
        return ("\u20d7", False) if char == "vec" else (char, True)
    return bare(box.node.text(deep=True)), False


def lined(span: Span) -> list[Element]:
    """`\\overline` and `\\underline`."""
    tag, char = ("mover", "\u203e") if "overline" in span.names else ("munder", "\u2015")
    body = [element for box in boxes(span.node) for element in span.content(box.node, span.depth)]
    line = Element("mo", {"stretchy": "true"}, text=char)
    return [Element(tag, {"accent": "true"}, [row(body), line])]


def braced(span: Span) -> list[Element]:
    """`\\overbrace` and `\\underbrace`, or text above or below one."""
    found = boxes(span.node)
    is_over = "mover" in span.names
    if len(found) < 2:
        return span.inside()
    main, mark = (found[0], found[-1]) if is_over else (found[-1], found[0])
    is_drawn = mark.node.css_first(".stretchy, .katex-stretchy") is not None
    drawn = outlines(mark.node) if is_drawn else []
    if drawn and "svg-align" in mark.names:
        sign = Element("mo", {"stretchy": "true"}, text=stroke(drawn))
    else:
        sign = span.row(mark.node)
    return [Element("mover" if is_over else "munder", {}, [span.row(main.node), sign])]


def arrow(span: Span) -> list[Element]:
    """An arrow that is as long as the text above and below it."""
    found = boxes(span.node)
    shafts = [index for index, box in enumerate(found) if "svg-align" in box.names]
    if not shafts:
        return span.inside()
    shaft = shafts[0]
    sign = Element("mo", {}, text=stroke(outlines(found[shaft].node)))
    below = [span.row(box.node) for box in found[:shaft]]
    above = [span.row(box.node) for box in found[shaft + 1 :]]
    if below and above:
        return [Element("munderover", {}, [sign, below[0], above[0]])]
    if below:
        return [Element("munder", {}, [sign, below[0]])]
    return [Element("mover", {}, [sign, above[0] if above else Element("mrow", {})])]


def limits(span: Span) -> Element:
    """An operator with something below and above; the operator stands in a span without class."""
    found = boxes(span.node)
    if not found:
        return row(span.inside())
    middle = next(
        (index for index, box in enumerate(found) if not class_names(box.content)), len(found) // 2
    )
    base = span.row(found[middle].node)
    below = span.row(found[middle - 1].node) if middle else None
    above = span.row(found[middle + 1].node) if middle + 1 < len(found) else None
    if below is not None and above is not None:
        return Element("munderover", {}, [base, below, above])
    if below is not None:
        return Element("munder", {}, [base, below])
    return Element("mover", {}, [base, above]) if above is not None else base


def stack(span: Span) -> list[Element]:
    """Any other vertical list: tables with lines, boxed and struck-out formulas, raised text."""
    found = boxes(span.node)
    lines = [box.height for box in found if "hline" in class_names(box.content)]
    if lines:
        for box in found:
            if "mtable" in class_names(box.content):
                return [table(span, box.content, lines)]
    notation = ""
    for box in found:
        if "fbox" in class_names(box.content):
            notation = "box"
        elif "svg-align" in box.names and (drawn := box.node.css("line")):
            up = [line.attributes.get("y1") == "100%" for line in drawn]
            notation = " ".join("updiagonalstrike" if one else "downdiagonalstrike" for one in up)
    inner = [element for box in reversed(found) for element in span.content(box.node, span.depth)]
    return [Element("menclose", {"notation": notation}, inner)] if notation else inner
