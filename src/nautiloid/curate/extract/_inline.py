"""Elements by what they do to a line, and text that stands above or below it."""

from __future__ import annotations

import re

from nautiloid.curate.extract._words import names
from nautiloid.curate.math.formula import OPEN

# They end the line before and after them, and what is in them belongs together.
CONTAINERS = names(
    """
    div section article main aside header footer nav form fieldset figure details center dl
    address hgroup search dialog multicol
    """
)

BREAKING = names("hr caption figcaption summary legend optgroup marquee frameset")

LEFT_OUT = names(
    """
    script style noscript template svg iframe noembed noframes canvas audio video select
    textarea button datalist title
    """
)

VOID = names("br hr img input wbr meta link col area base embed source track param")

NOT_IN_TITLE = names("p pre ul ol dl table h1 h2 h3 h4 h5 h6 blockquote section article")

_RAISED = str.maketrans(
    "0123456789+-\u2212=()ni",
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b\u207b\u207c\u207d\u207e\u207f\u2071",
)
_LOWERED = str.maketrans(
    "0123456789+-\u2212=()",
    "\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089\u208a\u208b\u208b\u208c\u208d\u208e",
)
_RAISABLE = frozenset("0123456789+-\u2212=()ni")
_LOWERABLE = frozenset("0123456789+-\u2212=()")
_PLAIN = re.compile(
    r"(?i)st|nd|rd|th|tm|sm|\u2122|\u00ae|e|er|re|\u00e8re|o|a|\u00ba|\u00aa|['\u2019\u2032]+"
)
_FOOTNOTE = re.compile(
    r"\[?[\d,\s*\u2020\u2021\u00a7]{1,8}\]?|\[(?:\w{1,3}|note \d+|citation needed)\]"
)


def script(text: str, is_raised: bool, is_linked: bool) -> str:
    """A superscript or subscript in a line of text; formulas have been taken out before.

    >>> script("th", True, False), ascii(script("10", True, False)), script("max", False, False)
    ('th', "'\\\\xb9\\\\u2070'", '_{max}')
    """
    stripped = text.strip()
    if not stripped:
        return text
    if is_linked and _FOOTNOTE.fullmatch(stripped):
        return ""
    if OPEN in stripped or " " in stripped or len(stripped) > 12:
        return text
    if is_raised:
        if _PLAIN.fullmatch(stripped):
            return stripped
        if _RAISABLE.issuperset(stripped):
            return stripped.translate(_RAISED)
        return f"^{stripped}" if len(stripped) == 1 else f"^{{{stripped}}}"
    if _LOWERABLE.issuperset(stripped):
        return stripped.translate(_LOWERED)
    return f"_{stripped}" if len(stripped) == 1 else f"_{{{stripped}}}"
