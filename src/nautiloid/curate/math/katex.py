r"""KaTeX output without its MathML: TeX from the layout.

KaTeX draws a formula as nested spans whose classes keep most of what TeX said: atoms (`mord`, `mbin`,
`mrel`), fonts, fractions, roots, tables. Heights and depths tell which script is above. The spans
become a tree of MathML elements, and that becomes TeX. Strokes drawn as SVG are known by the first
points of their outlines. Class names are those of KaTeX 0.10 to 0.19; newer ones carry `katex-`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

from selectolax.lexbor import LexborNode

from nautiloid.curate.math.mathml import convert
from nautiloid.curate.math.strokes import fence, stroke
from nautiloid.curate.math.tree import Element

# One level of a formula is about six spans.
_MAX_DEPTH = 150
_TOP = re.compile(r"(?:^|;)\s*top:\s*(-?[0-9.]{1,12})em")
_HEIGHT = re.compile(r"(?:^|;)\s*height:\s*(-?[0-9.]{1,12})em")
_MARGIN = re.compile(r"margin-right:\s*(-?[0-9.]{1,12})em")

_SKIPPED = frozenset(
    ("strut", "pstrut", "arraycolsep", "vlist-s", "frac-line", "fix", "overline-line",
     "underline-line", "rule", "hide-tail", "svg-align", "hline")
)  # fmt: skip
_FONTS = {
    "mathrm": "normal", "mathbf": "bold", "mathit": "italic-word", "mathbb": "double-struck",
    "mathcal": "script", "mathscr": "script", "mathfrak": "fraktur", "mathsf": "sans-serif",
    "mathtt": "monospace", "boldsymbol": "bold-italic", "mathboldfrak": "bold-fraktur",
    "textrm": "normal", "textbf": "bold", "textit": "italic-word", "texttt": "monospace",
    "textsf": "sans-serif", "amsrm": "", "mathsfit": "sans-serif-italic", "mathboldsf": "bold-sans-serif",
}  # fmt: skip
_TEXT_FONTS = {"textbf": "bold", "textit": "italic", "texttt": "monospace", "textsf": "sans-serif"}
_OPERATORS = frozenset(("mbin", "mrel", "mopen", "mclose", "mpunct"))
_NOT = "\ue020"
_DIGITS = re.compile(r"[0-9]+(?:\.[0-9]+)?|.", re.DOTALL)


def to_tex(node: LexborNode) -> str:
    """TeX of a `.katex-html` element; what cannot be read from its layout is kept as its text."""
    return convert(Element("math", {}, _content(node, 0)))


def _names(node: LexborNode) -> tuple[str, ...]:
    return _split(node.attributes.get("class") or "")


@lru_cache(maxsize=2048)
def _split(names: str) -> tuple[str, ...]:
    return tuple(name[6:] if name.startswith("katex-") else name for name in names.split())


def _children(node: LexborNode) -> list[LexborNode]:
    found: list[LexborNode] = []
    child = node.first_child
    while child is not None:
        found.append(child)
        child = child.next
    return found


def _row(elements: list[Element]) -> Element:
    return elements[0] if len(elements) == 1 else Element("mrow", {}, elements)


def _content(node: LexborNode, depth: int) -> list[Element]:
    """Elements of all children; scripts take what stands before them as their base."""
    out: list[Element] = []
    for child in _children(node):
        if child.tag == "-text":
            out += _tokens(child.text(deep=False) or "", _names(node))
            continue
        names = _names(child)
        if "msupsub" in names:
            out = [_scripted(_row(out), child, depth + 1)]
        else:
            out += _element(child, names, depth + 1)
    return _negated(out)


def _element(node: LexborNode, names: tuple[str, ...], depth: int) -> list[Element]:
    if depth > _MAX_DEPTH:
        return [Element("mtext", {}, text=node.text(deep=True))]
    if not _SKIPPED.isdisjoint(names) or "transparent" in (node.attributes.get("style") or ""):
        return []
    for name in names:
        made = _MAKERS.get(name)
        if made is not None:
            return made(node, names, depth)
    return _content(node, depth)


# Leaves.


def _tokens(text: str, names: tuple[str, ...]) -> list[Element]:
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


def _negated(elements: list[Element]) -> list[Element]:
    """KaTeX draws a stroke in front of what it negates."""
    if not any(element.text == _NOT for element in elements):
        return elements
    out: list[Element] = []
    for element in elements:
        if out and out[-1].text == _NOT and element.tag == "mspace":
            continue
        if out and out[-1].text == _NOT and element.tag in ("mo", "mi"):
            out[-1] = Element("mo", {}, text=element.text + "\u0338")
        else:
            out.append(element)
    return out


def _stroked(node: LexborNode, names: tuple[str, ...], depth: int) -> list[Element]:
    text = node.text(deep=True)
    return [Element("mo", {}, text=_NOT)] if _NOT in text else _content(node, depth)


def _relation(node: LexborNode, names: tuple[str, ...], depth: int) -> list[Element]:
    """A relation; a slash laid over it negates it, as in not-in."""
    text = node.text(deep=True).strip()
    if "x-arrow" in names:
        return _arrow(node, depth)
    if len(text) == 2 and text[1] == "/" and node.css_first(".llap") is not None:
        return [Element("mo", {}, text=text[0] + "\u0338")]
    return _content(node, depth)


def _space(node: LexborNode, names: tuple[str, ...], depth: int) -> list[Element]:
    if "newline" in names:
        return [Element("mspace", {"linebreak": "newline"})]
    margin = _MARGIN.search(node.attributes.get("style") or "")
    # Spaces around relations and operators are made anew; only quads were written by the author.
    width = float(margin[1]) if margin else 0.0
    return [Element("mspace", {"width": f"{width}em"})] if width >= 0.9 else []


def _text(node: LexborNode, names: tuple[str, ...], depth: int) -> list[Element]:
    """`\\text{...}`, mathematics inside it apart."""
    out: list[Element] = []
    for child in _children(node):
        inner = _names(child) if child.tag != "-text" else names
        text = child.text(deep=True)
        if any(grandchild.tag != "-text" for grandchild in _children(child)):
            out += _element(child, inner, depth + 1)
            continue
        font = next((_TEXT_FONTS[name] for name in inner if name in _TEXT_FONTS), "")
        last = out[-1] if out else None
        if last is not None and last.tag == "mtext" and last.get("mathvariant") == font:
            last.text += text
        elif "mathnormal" in inner:
            out += _tokens(text, inner)
        else:
            out.append(Element("mtext", {"mathvariant": font} if font else {}, text=text))
    return out


def _named(node: LexborNode, names: tuple[str, ...], depth: int) -> list[Element]:
    """An operator: with limits, or a name in upright letters."""
    if "op-limits" in names:
        return [_limits(node, depth)]
    inner = _content(node, depth)
    # The last letter of a name may stand in a span of its own, for its slant.
    if len(inner) > 1 or (inner and inner[0].get("mathvariant") == "normal"):
        name = "".join(one.text for one in inner)
        if all(one.tag == "mi" and not one.children for one in inner) and name.isalpha():
            attributes: dict[str, str | None] = {"mathvariant": "normal"} if len(name) == 1 else {}
            return [Element("mi", attributes, text=name), Element("mo", {}, text="\u2061")]
    return inner


def _fenced(node: LexborNode, names: tuple[str, ...], depth: int) -> list[Element]:
    """A bracket of any size."""
    form = "prefix" if "mopen" in names else "postfix"
    if "nulldelimiter" in names:
        return [Element("mo", {"fence": "true", "form": "postfix"})] if form == "postfix" else []
    if node.css_first(".msupsub") is not None or node.css_first(".delimsizing") is None:
        return _content(node, depth)
    return _sized(node, (*names, form), depth)


def _sized(node: LexborNode, names: tuple[str, ...], depth: int) -> list[Element]:
    """A bracket that was sized or put together from pieces."""
    char = fence(_outlines(node), node.text(deep=True).replace("\u200b", "").strip())
    attributes: dict[str, str | None] = {"fence": "true"}
    if "prefix" in names or "postfix" in names:
        attributes["form"] = "prefix" if "prefix" in names else "postfix"
    elif char not in "()[]{}|\u2225\u2308\u2309\u230a\u230b\u27e8\u27e9":
        return [Element("mo", {}, text=char)]
    return [Element("mo", attributes, text=char)]


def _outlines(node: LexborNode) -> list[str]:
    return [path.attributes.get("d") or "" for path in node.css("path")]


# Layout: lists of boxes one above the other.


class _Box:
    """One box of a vertical list."""

    __slots__ = ("content", "height", "names", "node")

    def __init__(self, node: LexborNode):
        self.node = node
        self.names = _names(node)
        self.content = node
        style = node.attributes.get("style") or ""
        top = _TOP.search(style)
        self.height = -float(top[1]) if top else 0.0
        for child in _children(node):
            if child.tag == "-text":
                continue
            if "pstrut" in _names(child):
                strut = _HEIGHT.search(child.attributes.get("style") or "")
                self.height -= float(strut[1]) if strut else 0.0
            else:
                self.content = child
                break

    def row(self, depth: int) -> Element:
        """What the box holds."""
        return _row(_content(self.node, depth))


def _boxes(node: LexborNode) -> list[_Box]:
    """Boxes of the vertical list in `node`, lowest first."""
    column = node.css_first(".vlist")
    if column is None:
        return []
    boxes = [_Box(child) for child in _children(column) if child.tag != "-text"]
    return sorted(
        (box for box in boxes if box.node.first_child is not None), key=lambda box: box.height
    )


def _scripted(base: Element, node: LexborNode, depth: int) -> Element:
    boxes = _boxes(node)
    if not boxes:
        return base
    if len(boxes) >= 2:
        sub, sup = boxes[0].row(depth), boxes[-1].row(depth)
        return Element("msubsup", {}, [base, sub, sup])
    # A list with a second row reaches below the line: a subscript.
    is_sub = node.css_first(".vlist-t2") is not None and _reaches_down(node)
    return Element("msub" if is_sub else "msup", {}, [base, boxes[0].row(depth)])


def _reaches_down(node: LexborNode) -> bool:
    child = node.first_child
    while child is not None and child.tag == "-text":
        child = child.next
    return child is not None and "vlist-t2" in _names(child)


def _fraction(node: LexborNode, names: tuple[str, ...], depth: int) -> list[Element]:
    boxes = _boxes(node)
    lines = [box for box in boxes if "frac-line" in _names(box.content)]
    parts = [box for box in boxes if box not in lines]
    if len(parts) < 2:
        return _content(node, depth)
    attributes: dict[str, str | None] = {} if lines else {"linethickness": "0"}
    return [Element("mfrac", attributes, [parts[-1].row(depth), parts[0].row(depth)])]


def _root(node: LexborNode, names: tuple[str, ...], depth: int) -> list[Element]:
    index: Element | None = None
    body: list[Element] = []
    for child in _children(node):
        if child.tag == "-text":
            continue
        if "root" in _names(child):
            boxes = _boxes(child)
            index = boxes[0].row(depth) if boxes else None
        else:
            for box in _boxes(child):
                if box.node.css_first("svg") is None or "hide-tail" not in _names(box.content):
                    body += _content(box.node, depth)
    if index is not None:
        return [Element("mroot", {}, [_row(body), index])]
    return [Element("msqrt", {}, body)]


def _accented(node: LexborNode, names: tuple[str, ...], depth: int) -> list[Element]:
    boxes = _boxes(node)
    base: Element | None = None
    accent: Element | None = None
    is_under = False
    for box in boxes:
        body = _names(box.content)
        if "accent-body" in body or "svg-align" in box.names:
            is_under = base is None and "accent-body" not in body
            char, is_wide = _accent_char(box, body)
            accent = Element("mo", {"stretchy": "true" if is_wide else "false"}, text=char)
        elif base is None:
            base = box.row(depth)
    if base is None or accent is None:
        return _content(node, depth)
    return [Element("munder" if is_under else "mover", {"accent": "true"}, [base, accent])]


def _accent_char(box: _Box, names: tuple[str, ...]) -> tuple[str, bool]:
    outlines = _outlines(box.node)
    if outlines:
        char = stroke(outlines)
        return ("\u20d7", False) if char == "vec" else (char, True)
    return box.node.text(deep=True).replace("\u200b", "").strip(), False


def _lined(node: LexborNode, names: tuple[str, ...], depth: int) -> list[Element]:
    tag, char = ("mover", "\u203e") if "overline" in names else ("munder", "\u2015")
    body = [element for box in _boxes(node) for element in _content(box.node, depth)]
    return [
        Element(
            tag, {"accent": "true"}, [_row(body), Element("mo", {"stretchy": "true"}, text=char)]
        )
    ]


def _braced(node: LexborNode, names: tuple[str, ...], depth: int) -> list[Element]:
    """`\\overbrace` and `\\underbrace`, or text above or below one."""
    boxes = _boxes(node)
    is_over = "mover" in names
    if len(boxes) < 2:
        return _content(node, depth)
    main, mark = (boxes[0], boxes[-1]) if is_over else (boxes[-1], boxes[0])
    outlines = (
        [] if mark.node.css_first(".stretchy, .katex-stretchy") is None else _outlines(mark.node)
    )
    if outlines and "svg-align" in mark.names:
        sign = Element("mo", {"stretchy": "true"}, text=stroke(outlines))
    else:
        sign = mark.row(depth)
    return [Element("mover" if is_over else "munder", {}, [main.row(depth), sign])]


def _arrow(node: LexborNode, depth: int) -> list[Element]:
    boxes = _boxes(node)
    shafts = [index for index, box in enumerate(boxes) if "svg-align" in box.names]
    if not shafts:
        return _content(node, depth)
    shaft = shafts[0]
    arrow = Element("mo", {}, text=stroke(_outlines(boxes[shaft].node)))
    below = [box.row(depth) for box in boxes[:shaft]]
    above = [box.row(depth) for box in boxes[shaft + 1 :]]
    if below and above:
        return [Element("munderover", {}, [arrow, below[0], above[0]])]
    if below:
        return [Element("munder", {}, [arrow, below[0]])]
    return [Element("mover", {}, [arrow, above[0] if above else Element("mrow", {})])]


def _limits(node: LexborNode, depth: int) -> Element:
    """An operator with something below and above; the operator stands in a span without class."""
    boxes = _boxes(node)
    middle = next(
        (index for index, box in enumerate(boxes) if not _names(box.content)), len(boxes) // 2
    )
    if not boxes:
        return _row(_content(node, depth))
    base = boxes[middle].row(depth)
    below = boxes[middle - 1].row(depth) if middle else None
    above = boxes[middle + 1].row(depth) if middle + 1 < len(boxes) else None
    if below is not None and above is not None:
        return Element("munderover", {}, [base, below, above])
    if below is not None:
        return Element("munder", {}, [base, below])
    return Element("mover", {}, [base, above]) if above is not None else base


def _stack(node: LexborNode, names: tuple[str, ...], depth: int) -> list[Element]:
    """Any other vertical list: tables with lines, boxed and struck-out formulas, raised text."""
    boxes = _boxes(node)
    if any("hline" in _names(box.content) for box in boxes):
        lines = [box.height for box in boxes if "hline" in _names(box.content)]
        for box in boxes:
            if "mtable" in _names(box.content):
                return [_table(box.content, depth, lines)]
    notation = ""
    for box in boxes:
        if "fbox" in _names(box.content):
            notation = "box"
        elif "svg-align" in box.names and (drawn := box.node.css("line")):
            up = [line.attributes.get("y1") == "100%" for line in drawn]
            notation = " ".join("updiagonalstrike" if one else "downdiagonalstrike" for one in up)
    inner = [element for box in reversed(boxes) for element in _content(box.node, depth)]
    return [Element("menclose", {"notation": notation}, inner)] if notation else inner


def _table(node: LexborNode, depth: int, rules: list[float]) -> Element:
    columns: list[list[_Box]] = []
    align: list[str] = []
    bars: list[str] = []
    gaps = 0
    first_gap = 0
    for child in _children(node):
        names = _names(child) if child.tag != "-text" else []
        kind = next((name for name in names if name.startswith("col-align-")), "")
        if kind:
            columns.append(_boxes(child))
            align.append({"l": "left", "r": "right"}.get(kind[10:], "center"))
            if len(columns) == 2:
                first_gap = gaps
            bars.append("none")
            gaps = 0
        elif "arraycolsep" in names:
            gaps += 1
        elif "vertical-separator" in names and bars:
            bars[-1] = "solid"
    heights: list[float] = []
    for height in sorted((box.height for column in columns for box in column), reverse=True):
        if not heights or heights[-1] - height > 0.02:
            heights.append(height)
    rows = [
        Element("mtr", {}, [_cell(column, height, depth) for column in columns])
        for height in heights
    ]
    lines = [
        "solid" if any(low < rule < high for rule in rules) else "none"
        for high, low in pairwise(heights)
    ]
    attributes: dict[str, str | None] = {
        "columnalign": " ".join(align),
        "columnspacing": "1em" if first_gap else "0em",
        "columnlines": " ".join(bars),
        "rowlines": " ".join(lines),
    }
    return Element("mtable", attributes, rows)


def _cell(column: list[_Box], height: float, depth: int) -> Element:
    for box in column:
        if abs(box.height - height) <= 0.02:
            return Element("mtd", {}, _content(box.node, depth))
    return Element("mtd", {})


def _array(node: LexborNode, names: tuple[str, ...], depth: int) -> list[Element]:
    return [_table(node, depth, [])]


def _inner(node: LexborNode, names: tuple[str, ...], depth: int) -> list[Element]:
    """What stands between `\\left` and `\\right`, or a brace with text."""
    if "mover" in names or "munder" in names:
        return _braced(node, names, depth)
    return [Element("mrow", {}, _content(node, depth))]


def _tag(node: LexborNode, names: tuple[str, ...], depth: int) -> list[Element]:
    return [Element("mtag", {}, text=node.text(deep=True).replace("\u200b", "").strip())]


_MAKERS = {
    "mspace": _space,
    "mfrac": _fraction,
    "sqrt": _root,
    "accent": _accented,
    "overline": _lined,
    "underline": _lined,
    "mtable": _array,
    "mop": _named,
    "mrel": _relation,
    "mopen": _fenced,
    "mclose": _fenced,
    "minner": _inner,
    "delimsizing": _sized,
    "text": _text,
    "vbox": _stroked,
    "vlist-t": _stack,
    "tag": _tag,
    "eqn-num": _tag,
}
