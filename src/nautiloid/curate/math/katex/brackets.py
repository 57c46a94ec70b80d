"""Brackets of a KaTeX layout, of any size."""

from __future__ import annotations

from nautiloid.curate.math.katex.spans import Span, bare, outlines
from nautiloid.curate.math.strokes import fence
from nautiloid.curate.math.tree import Element


def fenced(span: Span) -> list[Element]:
    """A bracket of any size."""
    form = "prefix" if "mopen" in span.names else "postfix"
    if "nulldelimiter" in span.names:
        return [Element("mo", {"fence": "true", "form": "postfix"})] if form == "postfix" else []
    if span.node.css_first(".msupsub") is not None or span.node.css_first(".delimsizing") is None:
        return span.inside()
    return _sized(span, form)


def sized(span: Span) -> list[Element]:
    """A bracket that was sized or put together from pieces."""
    return _sized(span, "")


def _sized(span: Span, form: str) -> list[Element]:
    char = fence(outlines(span.node), bare(span.node.text(deep=True)))
    attributes: dict[str, str | None] = {"fence": "true"}
    if form:
        attributes["form"] = form
    elif char not in "()[]{}|\u2225\u2308\u2309\u230a\u230b\u27e8\u27e9":
        return [Element("mo", {}, text=char)]
    return [Element("mo", attributes, text=char)]
