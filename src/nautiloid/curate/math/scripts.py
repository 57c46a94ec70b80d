"""MathJax 2 scripts: TeX, MathML and AsciiMath in `script` elements beside their rendering."""

from __future__ import annotations

from collections.abc import Callable

from selectolax.lexbor import LexborHTMLParser, LexborNode

from nautiloid.curate.math import asciimath, mathml
from nautiloid.curate.math.formula import MAX_CHARS, unwrap_style

_RENDERED_NAMES = (
    "MathJax_Preview MathJax MathJax_Display MathJax_SVG MathJax_SVG_Display MathJax_CHTML "
    "MathJax_MathML MathJax_PlainSource MJXc-display mjx-chtml MathJax_Processed "
    "MathJax_Processing MathJax_Error"
)
# MathML takes about ten times the characters of its TeX.
_MAX_SOURCE = 20 * MAX_CHARS
_RENDERED = frozenset(_RENDERED_NAMES.split())


def replace_scripts(tree: LexborHTMLParser, add: Callable[[str, bool, str], str]) -> None:
    """Each math script becomes its mark; previews and renderings in front of it go."""
    for node in tree.css('script[type^="math/" i]'):
        kind, _, mode = (node.attributes.get("type") or "").lower().partition(";")
        is_display = "display" in mode
        source = node.text()
        kind = kind.strip()
        if len(source) > _MAX_SOURCE:
            continue
        if kind == "math/tex":
            tex, encoding = unwrap_style(_uncommented(source)), "script"
        elif kind == "math/mml":
            math = LexborHTMLParser(_uncommented(source)).css_first("math")
            if math is None:
                continue
            is_display |= math.attributes.get("display") == "block"
            tex, encoding = mathml.to_tex(math), "script_mathml"
        elif kind == "math/asciimath":
            tex, encoding = asciimath.to_tex(_uncommented(source)), "asciimath"
        else:
            continue
        _drop_rendered(node)
        node.replace_with(add(tex, is_display, encoding))


def _uncommented(source: str) -> str:
    """Script text without the `% <![CDATA[ ... %]]>` that XHTML writers put around it."""
    source = source.strip()
    if "CDATA[" in source:
        source = source.partition("<![CDATA[")[2].rpartition("]]>")[0].rstrip()
        source = source.rstrip("%/").strip()
    if source.startswith("<!--") and source.endswith("-->"):
        source = source[4:-3].strip()
    return source


def _drop_rendered(node: LexborNode) -> None:
    """Takes away what MathJax drew for this script: elements right before it."""
    drawn: list[LexborNode] = []
    sibling = node.prev
    # Preview, display wrapper, output, and white space between them.
    for _ in range(6):
        if sibling is None:
            break
        if sibling.tag == "-text":
            if (sibling.text(deep=False) or "").strip():
                break
        elif sibling.tag in ("script", "math") or _RENDERED.isdisjoint(
            (sibling.attributes.get("class") or "").split()
        ):
            break
        else:
            drawn.append(sibling)
        sibling = sibling.prev
    for element in drawn:
        element.replace_with("")
