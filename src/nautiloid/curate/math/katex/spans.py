"""Spans of KaTeX: their class names, their children, and what a reader of one must know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from selectolax.lexbor import LexborNode

from nautiloid.curate.math.tree import Element

# (node, depth) -> elements of all its children.
Content = Callable[[LexborNode, int], list[Element]]


@dataclass(frozen=True, slots=True)
class Span:
    """A span that becomes elements.

    Args:
        node: The span.
        names: Its class names.
        depth: Spans around it.
        content: Reads the children of any node.
    """

    node: LexborNode
    names: tuple[str, ...]
    depth: int
    content: Content

    def inside(self) -> list[Element]:
        """Elements of the children."""
        return self.content(self.node, self.depth)

    def row(self, node: LexborNode) -> Element:
        """The children of a node below this span as one element."""
        return row(self.content(node, self.depth))


def row(elements: list[Element]) -> Element:
    """Elements side by side as one."""
    return elements[0] if len(elements) == 1 else Element("mrow", {}, elements)


def class_names(node: LexborNode) -> tuple[str, ...]:
    """Class names of a node, those of newer versions without their prefix."""
    return _split(node.attributes.get("class") or "")


@lru_cache(maxsize=2048)
def _split(names: str) -> tuple[str, ...]:
    return tuple(name[6:] if name.startswith("katex-") else name for name in names.split())


def children(node: LexborNode) -> list[LexborNode]:
    """Children of a node, text among them."""
    found: list[LexborNode] = []
    child = node.first_child
    while child is not None:
        found.append(child)
        child = child.next
    return found


def outlines(node: LexborNode) -> list[str]:
    """Paths of the strokes drawn below a node."""
    return [path.attributes.get("d") or "" for path in node.css("path")]


def bare(text: str) -> str:
    """Text of a span without the characters that only hold its place."""
    return text.replace("\u200b", "").strip()
