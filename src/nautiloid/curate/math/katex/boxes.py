"""Boxes one above the other: how KaTeX lays out all that is not a row."""

from __future__ import annotations

import re

from selectolax.lexbor import LexborNode

from nautiloid.curate.math.katex.spans import children, class_names

_TOP = re.compile(r"(?:^|;)\s*top:\s*(-?[0-9.]{1,12})em")
_HEIGHT = re.compile(r"(?:^|;)\s*height:\s*(-?[0-9.]{1,12})em")


class Box:
    """One box of a vertical list.

    Attributes:
        node: The span of the box.
        names: Its class names.
        content: Its first child that is not a strut; the box itself without one.
        height: Of its baseline above that of the row, in em.
    """

    __slots__ = ("content", "height", "names", "node")

    def __init__(self, node: LexborNode):
        self.node = node
        self.names = class_names(node)
        self.content = node
        style = node.attributes.get("style") or ""
        top = _TOP.search(style)
        self.height = -float(top[1]) if top else 0.0
        for child in children(node):
            if child.tag == "-text":
                continue
            if "pstrut" in class_names(child):
                strut = _HEIGHT.search(child.attributes.get("style") or "")
                self.height -= float(strut[1]) if strut else 0.0
            else:
                self.content = child
                break


def boxes(node: LexborNode) -> list[Box]:
    """Boxes of the vertical list in `node`, lowest first."""
    column = node.css_first(".vlist")
    if column is None:
        return []
    found = [Box(child) for child in children(column) if child.tag != "-text"]
    return sorted(
        (box for box in found if box.node.first_child is not None), key=lambda box: box.height
    )
