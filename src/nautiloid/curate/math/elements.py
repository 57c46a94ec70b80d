"""Elements that are formulas: each becomes the mark of its formula, once.

Kinds are taken in an order in which the better source comes first and takes the rendered copies
beside it away: scripts, KaTeX, wiki, MathJax, attributes, MathML, images, classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from selectolax.lexbor import LexborHTMLParser, LexborNode

from nautiloid.curate.math import asciimath, docutils, ignored, images, katex, mathml
from nautiloid.curate.math.delimiters import Delimiters, find, stripped, undoubled
from nautiloid.curate.math.formula import OPEN, unwrap_style
from nautiloid.curate.math.runs import replace_runs
from nautiloid.curate.math.scripts import replace_scripts

# Adds a formula (tex, is_display, encoding) and returns its mark.
Add = Callable[[str, bool, str], str]

_TEX_ENCODINGS = ("application/x-tex", "application/x-latex", "latex", "tex", "application/x-itex")
_ATTRIBUTES = ("data-expr", "data-tex", "data-latex", "data-math", "data-formula")
_ATTRIBUTE_QUERY = ", ".join(f"[{name}]" for name in _ATTRIBUTES) + ", .ql-formula[data-value]"
_STEMS = tuple(name[5:] for name in (*_ATTRIBUTES, "data-value"))
_NOT_TEX_NAMES = "true false yes no on off inline block display 0 none auto math"
_NOT_TEX = frozenset(_NOT_TEX_NAMES.split())
_IMAGE = re.compile(r"[tT]e[xX]|TEX|\\\\|\$|ormula|math|MATH|%5[cC]|ck12|&#92;|&#36;")
# Behind the name of a class of MathJax's.
_NAME_ENDS = frozenset("\"' _>\n")
_CAPITALS = re.compile(r"<(?:HTML|HEAD|BODY|TITLE|META|P|IMG)\b")
# A second formula in the same text.
_NESTED = re.compile(r"\\\\[()\[\]]")
# Elements for code: of class math they hold TeX and nothing else.
_LITERAL = frozenset(("tt", "code", "pre"))
_MATH_CLASSES = ".math, .math-container, .MathJye, .arithmatex, .SimpleMath"


def replace(tree: LexborHTMLParser, html: str, delimiters: Delimiters, add: Add) -> None:
    """All formulas of `tree` as marks. `html` is its source: what it lacks is not looked for."""
    # Only old pages, LaTeX2HTML's among them, write names in capitals.
    is_capital = _CAPITALS.search(html, 0, 2000) is not None
    kinds = _kinds(html, is_capital)
    if "jax_ignore" in html:
        for node in outermost(tree, ignored.QUERY):
            ignored.shield(node)
    if "script" in kinds:
        replace_scripts(tree, add)
    if "katex" in kinds:
        for node in outermost(tree, ".katex, .katex-error"):
            _katex(node, add)
    if "class" in kinds:
        for node in outermost(tree, ".mwe-math-element"):
            _wiki(node, add)
    if "mathjax" in kinds:
        for node in outermost(tree, "mjx-container, .MathJax[data-mathml], [data-mathml]"):
            _mathjax(node, add)
        for node in outermost(tree, ".MathJax_Preview"):
            node.replace_with("")
        for node in tree.css("mathjax"):
            tex = asciimath.to_tex(node.text().strip().strip("#"))
            node.replace_with(add(tex, False, "asciimath"))
    if _has_attribute(html):
        for node in outermost(tree, _ATTRIBUTE_QUERY):
            _attribute(node, add)
    if "element" in kinds:
        for node in outermost(tree, "math"):
            _mathml(node, add)
    if _has_image(html, is_capital):
        for node in tree.css("img"):
            formula = images.of(node)
            if formula is not None:
                node.replace_with(add(formula.tex, formula.is_display, formula.encoding))
    if "class" in kinds:
        for node in outermost(tree, _MATH_CLASSES):
            _math_class(node, add)
    if docutils.made_pages(html):
        for node in docutils.formulas(tree):
            node.replace_with(add(docutils.to_tex(node), node.tag == "div", "docutils"))
    if "<su" in html or (is_capital and "<SU" in html):
        replace_runs(tree, add)


def _kinds(html: str, is_capital: bool) -> set[str]:
    """Kinds of formula elements that the source may hold, generously: most have `math` in their names."""
    kinds: set[str] = set()
    pieces = html.split("ath")
    # Pages have these letters often, but in few surroundings.
    for left, right in {(a[-2:], b[:4]) for a, b in pairwise(pieces)}:
        before, letter, after = left[:-1], left[-1:], right[:1]
        if not letter or letter not in "mM":
            continue
        if before == "<":
            kinds.add("mathjax" if right.startswith("jax") else "element")
        elif after == "/":
            kinds.add("script")
        elif right.startswith("Jye"):
            kinds.add("class")
        elif (right[:3] == "Jax" and right[3:] in _NAME_ENDS) or (left == "-m" and after == "m"):
            # Output of MathJax, or `data-mathml`; loaders call themselves mathjax.js.
            kinds.add("mathjax")
        elif before and before in "\"'- e" and after and after in "\"'- \n":
            kinds.add("class")
    if is_capital and "<MATH" in html:
        kinds.add("element")
    if "atex" in html:
        kinds.add("katex")
    if "element" in kinds and "mjx-" in html:
        kinds.add("mathjax")
    return kinds


def _has_attribute(html: str) -> bool:
    """Whether one of the attributes that hold TeX may occur."""
    position = html.find("data-")
    while position != -1:
        if html.startswith(_STEMS, position + 5):
            return True
        position = html.find("data-", position + 5)
    return False


def _has_image(html: str, is_capital: bool) -> bool:
    """Whether an image may be a formula."""
    for tag in ("<img", "<IMG") if is_capital else ("<img",):
        position = html.find(tag)
        while position != -1:
            end = html.find(">", position)
            if end == -1:
                return True
            if _IMAGE.search(html, position, end):
                return True
            position = html.find(tag, end)
    return False


def outermost(tree: LexborHTMLParser, query: str) -> Iterator[LexborNode]:
    """Matches of `query` that no other match contains, in the order of the page.

    Each node may be taken out of the tree before the next one is asked for. Ancestors seen once are
    not climbed again: linear time however deep the page.
    """
    matched: set[int] = set()
    clear: set[int] = set()
    for node in tree.css(query):
        trail: list[int] = []
        ancestor = node.parent
        while ancestor is not None:
            name = ancestor.mem_id
            if name in clear:
                ancestor = None
                break
            if name in matched:
                break
            trail.append(name)
            ancestor = ancestor.parent
        if ancestor is None:
            clear.update(trail)
            matched.add(node.mem_id)
            yield node
        else:
            matched.update(trail)


def _classes(node: LexborNode) -> list[str]:
    return (node.attributes.get("class") or "").split()


def annotation(node: LexborNode) -> str:
    """TeX of the annotation of a `math` element, "" without one."""
    for child in node.css("annotation"):
        if (child.attributes.get("encoding") or "").lower() in _TEX_ENCODINGS:
            tex = child.text().strip()
            if tex:
                return unwrap_style(stripped(tex)[0])
    return ""


def _katex(node: LexborNode, add: Add) -> None:
    parent = node.parent
    outer = node
    is_display = False
    if parent is not None and "katex-display" in _classes(parent):
        outer, is_display = parent, True
    names = _classes(node)
    if "katex-error" in names:
        outer.replace_with(add(stripped(node.text())[0], is_display, "katex"))
        return
    tex = annotation(node)
    if tex:
        outer.replace_with(add(tex, is_display, "katex"))
        return
    math = node.css_first("math")
    if math is not None:
        outer.replace_with(add(mathml.to_tex(math), is_display, "katex"))
        return
    layout = node.css_first(".katex-html")
    outer.replace_with(add(katex.to_tex(layout or node), is_display, "katex_html"))


def _wiki(node: LexborNode, add: Add) -> None:
    math = node.css_first("math")
    image = node.css_first("img")
    tex = ""
    is_display = "mwe-math-element-block" in _classes(node)
    if math is not None:
        is_display |= math.attributes.get("display") == "block"
        tex = annotation(math) or unwrap_style(math.attributes.get("alttext") or "")
    if not tex and image is not None:
        tex = unwrap_style(image.attributes.get("alt") or "")
    if not tex and math is not None:
        tex = mathml.to_tex(math)
    if tex:
        node.replace_with(add(tex, is_display or _alone_in_definition(node), "wikipedia"))


def _alone_in_definition(node: LexborNode) -> bool:
    """Whether a formula is all of an indented line (`dd`): the display mode of older wikis."""
    parent = node.parent
    if parent is None or parent.tag != "dd":
        return False
    return not any(
        child.mem_id != node.mem_id and child.text(deep=True).strip(" \n\t.,;")
        for child in parent.iter(include_text=True)
    )


def _mathjax(node: LexborNode, add: Add) -> None:
    names = _classes(node)
    source = node.attributes.get("data-mathml")
    parent = node.parent
    is_display = (node.attributes.get("display") or "") in ("true", "block")
    if parent is not None and (
        "MathJax_Display" in _classes(parent) or "MathJax_SVG_Display" in _classes(parent)
    ):
        is_display = True
    if source:
        math = LexborHTMLParser(source).css_first("math")
    else:
        math = node.css_first("math")
    if math is None:
        if node.tag == "mjx-container" or "MathJax" in names:
            tex = mathml.to_tex(node)
            node.replace_with(add(tex, is_display, "mathjax"))
        return
    is_display |= math.attributes.get("display") == "block"
    tex = annotation(math) or mathml.to_tex(math)
    node.replace_with(add(tex, is_display, "mathjax"))


def _attribute(node: LexborNode, add: Add) -> None:
    attributes = node.attributes
    value = ""
    for name in (*_ATTRIBUTES, "data-value"):
        value = (attributes.get(name) or "").strip()
        if value:
            break
    if not value or value.lower() in _NOT_TEX or (value[0] in "{[" and '":' in value):
        return
    # A container that carries settings, not the formula it shows.
    if len(node.text(deep=True)) > 200 + 20 * len(value):
        return
    tex, said = stripped(value)
    names = _classes(node)
    is_display = (
        bool(said)
        or node.tag == "div"
        or "display" in (attributes.get("data-display") or attributes.get("data-mode") or "")
        or any("display" in name or name.endswith("block") for name in names)
    )
    node.replace_with(add(unwrap_style(tex), is_display, "attribute"))


def _mathml(node: LexborNode, add: Add) -> None:
    attributes = node.attributes
    is_display = attributes.get("display") == "block" or attributes.get("mode") == "display"
    tex = annotation(node)
    encoding = "annotation"
    if not tex:
        tex = unwrap_style(stripped(attributes.get("alttext") or "")[0])
        encoding = "alttext"
    if not tex:
        tex = mathml.to_tex(node)
        encoding = "mathml"
    node.replace_with(add(tex, is_display, encoding))


def _math_class(node: LexborNode, add: Add) -> None:
    """Sphinx, Jupyter, pandoc, StackExchange, GAPDoc: TeX as text inside an element of class `math`."""
    child = node.first_child
    if child is None:
        return
    is_only = child.next is None and child.tag == "-text"
    if is_only:
        text = (child.text(deep=False) or "").strip()
        tex, is_display = stripped(text)
        if is_display is not None and ("\\" not in tex or _NESTED.search(tex) is None):
            node.replace_with(add(undoubled(tex), is_display, "math_class"))
            return
    found = False
    for child in list(node.iter(include_text=True)):
        if child.tag != "-text":
            continue
        text = child.text(deep=False) or ""
        parts: list[str] = []
        done = 0
        for span in find(text, Delimiters(dollars=True)):
            parts += (text[done : span.start], add(span.tex, span.is_display, "math_class"))
            done = span.end
        if parts:
            parts.append(text[done:])
            child.replace_with("".join(parts))
            found = True
    if found or not is_only:
        return
    # jsMath, docutils and pandoc --katex: TeX without delimiters.
    tex = node.text().strip()
    looks = "\\" in tex or "^" in tex or "_" in tex or len(tex) <= 3
    if not tex or OPEN in tex or not (looks or node.tag in _LITERAL):
        return
    is_display = node.tag in ("div", "pre") or "display" in _classes(node)
    node.replace_with(add(undoubled(tex), is_display, "math_class"))
