r"""KaTeX output without its MathML: TeX from the layout.

KaTeX draws a formula as nested spans whose classes keep most of what TeX said: atoms (`mord`, `mbin`,
`mrel`), fonts, fractions, roots, tables. Heights and depths tell which script is above. The spans
become a tree of MathML elements, and that becomes TeX. Strokes drawn as SVG are known by the first
points of their outlines. Class names are those of KaTeX 0.10 to 0.19; newer ones carry `katex-`.
"""

from __future__ import annotations

from selectolax.lexbor import LexborNode

from nautiloid.curate.math.katex.layout import content
from nautiloid.curate.math.mathml import convert
from nautiloid.curate.math.tree import Element


def to_tex(node: LexborNode) -> str:
    """TeX of a `.katex-html` element; what cannot be read from its layout is kept as its text."""
    return convert(Element("math", {}, content(node, 0)))
