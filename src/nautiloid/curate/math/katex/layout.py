"""Rows of a KaTeX layout: each span is read by what its class says that it is."""

from __future__ import annotations

from collections.abc import Callable

from selectolax.lexbor import LexborNode

from nautiloid.curate.math.katex.atoms import negated, space, stroked, tokens
from nautiloid.curate.math.katex.brackets import fenced, sized
from nautiloid.curate.math.katex.spans import Span, bare, children, class_names, row
from nautiloid.curate.math.katex.stacks import (
    accented,
    arrow,
    braced,
    fraction,
    limits,
    lined,
    root,
    scripted,
    stack,
)
from nautiloid.curate.math.katex.tables import array
from nautiloid.curate.math.tree import Element

# One level of a formula is about six spans.
_MAX_DEPTH = 150

_SKIPPED = frozenset(
    ("strut", "pstrut", "arraycolsep", "vlist-s", "frac-line", "fix", "overline-line",
     "underline-line", "rule", "hide-tail", "svg-align", "hline")
)  # fmt: skip
_TEXT_FONTS = {"textbf": "bold", "textit": "italic", "texttt": "monospace", "textsf": "sans-serif"}


def content(node: LexborNode, depth: int) -> list[Element]:
    """Elements of all children; scripts take what stands before them as their base."""
    out: list[Element] = []
    for child in children(node):
        if child.tag == "-text":
            out += tokens(child.text(deep=False) or "", class_names(node))
            continue
        names = class_names(child)
        if "msupsub" in names:
            out = [scripted(row(out), Span(child, names, depth + 1, content))]
        else:
            out += _element(child, names, depth + 1)
    return negated(out)


def _element(node: LexborNode, names: tuple[str, ...], depth: int) -> list[Element]:
    if depth > _MAX_DEPTH:
        return [Element("mtext", {}, text=node.text(deep=True))]
    if not _SKIPPED.isdisjoint(names) or "transparent" in (node.attributes.get("style") or ""):
        return []
    for name in names:
        made = _MAKERS.get(name)
        if made is not None:
            return made(Span(node, names, depth, content))
    return content(node, depth)


def _relation(span: Span) -> list[Element]:
    """A relation; a slash laid over it negates it, as in not-in."""
    text = span.node.text(deep=True).strip()
    if "x-arrow" in span.names:
        return arrow(span)
    if len(text) == 2 and text[1] == "/" and span.node.css_first(".llap") is not None:
        return [Element("mo", {}, text=text[0] + "\u0338")]
    return span.inside()


def _text(span: Span) -> list[Element]:
    """`\\text{...}`, mathematics inside it apart."""
    out: list[Element] = []
    for child in children(span.node):
        inner = class_names(child) if child.tag != "-text" else span.names
        text = child.text(deep=True)
        if any(grandchild.tag != "-text" for grandchild in children(child)):
            out += _element(child, inner, span.depth + 1)
            continue
        font = next((_TEXT_FONTS[name] for name in inner if name in _TEXT_FONTS), "")
        last = out[-1] if out else None
        if last is not None and last.tag == "mtext" and last.get("mathvariant") == font:
            last.text += text
        elif "mathnormal" in inner:
            out += tokens(text, inner)
        else:
            out.append(Element("mtext", {"mathvariant": font} if font else {}, text=text))
    return out


def _named(span: Span) -> list[Element]:
    """An operator: with limits, or a name in upright letters."""
    if "op-limits" in span.names:
        return [limits(span)]
    inner = span.inside()
    # The last letter of a name may stand in a span of its own, for its slant.
    if len(inner) > 1 or (inner and inner[0].get("mathvariant") == "normal"):
        name = "".join(one.text for one in inner)
        if all(one.tag == "mi" and not one.children for one in inner) and name.isalpha():
            attributes: dict[str, str | None] = {"mathvariant": "normal"} if len(name) == 1 else {}
            return [Element("mi", attributes, text=name), Element("mo", {}, text="\u2061")]
    return inner


def _inner(span: Span) -> list[Element]:
    """What stands between `\\left` and `\\right`, or a brace with text."""
    if "mover" in span.names or "munder" in span.names:
        return braced(span)
    return [Element("mrow", {}, span.inside())]


def _tag(span: Span) -> list[Element]:
    return [Element("mtag", {}, text=bare(span.node.text(deep=True)))]


_MAKERS: dict[str, Callable[[Span], list[Element]]] = {
    "mspace": space,
    "mfrac": fraction,
    "sqrt": root,
    "accent": accented,
    "overline": lined,
    "underline": lined,
    "mtable": array,
    "mop": _named,
    "mrel": _relation,
    "mopen": fenced,
    "mclose": fenced,
    "minner": _inner,
    "delimsizing": sized,
    "text": _text,
    "vbox": stroked,
    "vlist-t": stack,
    "tag": _tag,
    "eqn-num": _tag,
}
