r"""One spelling for formulas that are set alike: what is compared when a tool's TeX is judged.

The same function is applied to the expected TeX and to that of every tool. It removes what does not
show (white space, spacing commands, `\left`, `\right`, sizes, styles, redundant braces, labels) and
gives one name to commands that draw the same character or build the same layout.
"""

from __future__ import annotations

import html

from nautiloid.curate.math.delimiters import stripped
from nautiloid.curate.math.formula import aligned
from nautiloid.curate.math.normal.reader import Reader
from nautiloid.curate.math.normal.tokens import renamed, split


def normalise(tex: str) -> str:
    r"""The common spelling of a formula.

    >>> normalise(r"\left( x^2_i \right) \le \dfrac12") == normalise("$(x_{i}^{2})\\leq\\frac{1}{2}$")
    True
    """
    if "&" in tex and ";" in tex:
        tex = html.unescape(tex)
    tokens = split(aligned(stripped(tex)[0]))
    while tokens and tokens[-1] == "\\\\":
        # A line break at the end shows nothing.
        tokens.pop()
    return Reader(renamed(tokens)).whole()
