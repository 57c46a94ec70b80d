"""Formula elements as a small tree of our own, built from the DOM without recursion."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

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
    top = Element(_name(root.tag or ""), root.attributes)
    if top.tag in TOKENS:
        top.text = root.text(deep=True)
        return top
    pending: list[tuple[LexborNode, Element, int, str]] = [(root, top, 0, top.get("mathvariant"))]
    count = 0
    while pending:
        node, element, depth, variant = pending.pop()
        children = element.children
        child = node.first_child
        while child is not None:
            this, child = child, child.next
            tag = this.tag or ""
            if tag == "-text":
                text = (this.text(deep=False) or "").strip()
                if text:
                    # Characters outside token elements: broken, but they are what was meant.
                    children.append(Element("mi", {"loose": "true"}, text=text))
                continue
            if tag in _DRAWN or tag[:1] in "_-":
                continue
            count += 1
            if count > MAX_NODES:
                return Element("mtext", {}, text=root.text(deep=True))
            name = _name(tag)
            attributes = this.attributes
            made = Element(name, attributes)
            children.append(made)
            if name in TOKENS or depth >= MAX_DEPTH:
                if name not in TOKENS:
                    made.tag = "mtext"
                made.text = this.text(deep=True)
                if variant and "mathvariant" not in attributes:
                    attributes["mathvariant"] = variant
            elif this.first_child is not None:
                own = attributes.get("mathvariant") if name == "mstyle" else None
                pending.append((this, made, depth + 1, own or variant))
    return top


@lru_cache(maxsize=512)
def _name(tag: str) -> str:
    name = tag.lower()
    if name.startswith("mjx-"):
        name = name[4:]
        return "math" if name == "container" else name
    return name.rpartition(":")[2]
