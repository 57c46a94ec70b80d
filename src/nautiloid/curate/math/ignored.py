"""Parts of a page that its own settings keep from MathJax."""

from __future__ import annotations

from selectolax.lexbor import LexborNode

from nautiloid.curate.math.formula import SHIELD

QUERY = ".tex2jax_ignore, .mathjax_ignore"
# Inside an ignored part these are processed again.
_PROCESSED = '.tex2jax_process, .mathjax_process, .math, math, script[type^="math/"]'


def shield(node: LexborNode) -> None:
    """Takes delimiters in the text of an ignored element out of reach; `Recovery.render` brings them back."""
    if node.css_first(_PROCESSED) is not None:
        return
    for child in list(node.traverse(include_text=True)):
        if child.tag != "-text":
            continue
        text = child.text(deep=False) or ""
        if "$" in text or "\\" in text or "`" in text:
            child.replace_with(text.translate(SHIELD))
