"""Formula elements as a small tree of our own, built from the DOM without recursion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from selectolax.lexbor import LexborNode

# What lies deeper is kept as text: real formulas nest less than thirty deep.
MAX_DEPTH = 120
# More elements than a formula of the longest accepted TeX has.
MAX_NODES = 8_000

_TOKENS_NAMES = "mi mn mo mtext ms mspace mglyph mtag ci cn csymbol annotation"
TOKENS = frozenset(_TOKENS_NAMES.split())
# Output of MathJax names elements mjx-mi, mjx-mfrac ...; what is drawn beside them carries no content.
_DRAWN_NAMES = (
    "mjx-assistive-mml mjx-stretchy-v mjx-stretchy-h mjx-line mjx-strut mjx-nstrut mjx-dstrut "
    "mjx-tstrut mjx-surd script style annotation-xml"
)
_DRAWN = frozenset(_DRAWN_NAMES.split())


@dataclass(slots=True)
class Element:
    """One element of a formula.

    Args:
        tag: Lower case, without prefix.
        attributes: As written; `mathvariant` is inherited from `mstyle` and `math`.
        children: Elements in order; text only where `text` says so.
        text: Characters of a token element.
    """

    tag: str
    attributes: dict[str, str | None]
    children: list[Element] = field(default_factory=list["Element"])
    text: str = ""

    def get(self, name: str) -> str:
        """Value of an attribute, "" where it is missing."""
        return self.attributes.get(name) or ""


def build(root: LexborNode) -> Element:
    """The tree under a DOM element, `root` included."""
    top = Element(_name(root.tag), dict(root.attributes))
    pending: list[tuple[LexborNode, Element, int, str]] = [(root, top, 0, top.get("mathvariant"))]
    count = 0
    while pending:
        node, element, depth, variant = pending.pop()
        if element.tag in TOKENS:
            element.text = _token_text(node)
            if variant and not element.get("mathvariant"):
                element.attributes["mathvariant"] = variant
            continue
        if count > MAX_NODES:
            return Element("mtext", {}, text=root.text(deep=True))
        if depth >= MAX_DEPTH:
            element.tag = "mtext"
            element.text = node.text(deep=True)
            continue
        for child in _children(node):
            tag = child.tag or ""
            if tag == "-text":
                text = (child.text(deep=False) or "").strip()
                if text:
                    # Characters outside token elements: broken, but they are what was meant.
                    element.children.append(Element("mi", {"loose": "true"}, text=text))
                continue
            if tag in _DRAWN or tag.startswith(("_", "-")):
                continue
            made = Element(_name(tag), dict(child.attributes))
            element.children.append(made)
            count += 1
            own = made.get("mathvariant") if made.tag in ("mstyle", "mrow") else ""
            pending.append((child, made, depth + 1, own or variant))
    return top


def _name(tag: str | None) -> str:
    name = (tag or "").lower()
    if name.startswith("mjx-"):
        name = name[4:]
        return "math" if name == "container" else name
    return name.rpartition(":")[2]


def _children(node: LexborNode) -> Iterator[LexborNode]:
    child = node.first_child
    while child is not None:
        yield child
        child = child.next


def _token_text(node: LexborNode) -> str:
    return node.text(deep=True)
