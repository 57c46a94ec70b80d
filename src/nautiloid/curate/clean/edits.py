"""How much of a text was rewritten: edit distance of words, within a band."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUntypedFunctionDecorator=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nautiloid.core.errors import missing_extra

try:
    from numba import njit
except ModuleNotFoundError:
    raise missing_extra("numba", "curate") from None


def edit_distance(before: Sequence[str], after: Sequence[str], limit: int) -> int:
    """Words to insert, remove or replace; `limit + 1` where it takes more than `limit`.

    Only cells within `limit` of the diagonal are looked at: time is words times limit.

    >>> edit_distance("a b c d".split(), "a x c d e".split(), 3)
    2
    >>> edit_distance("a b c d".split(), "w x y z".split(), 3)
    4
    """
    if abs(len(before) - len(after)) > limit:
        return limit + 1
    ids: dict[str, int] = {}
    one = np.fromiter((ids.setdefault(w, len(ids)) for w in before), np.int32, len(before))
    two = np.fromiter((ids.setdefault(w, len(ids)) for w in after), np.int32, len(after))
    return int(_banded(one, two, limit))


@njit(cache=True, nogil=True)
def _banded(one, two, limit):
    """Ukkonen 1985: row i holds columns i - limit to i + limit."""
    big = limit + 1
    width = 2 * limit + 1
    row = np.empty(width, np.int32)
    following = np.empty(width, np.int32)
    for k in range(width):
        row[k] = k - limit if 0 <= k - limit <= len(two) else big
    for i in range(1, len(one) + 1):
        least = big
        for k in range(width):
            j = i + k - limit
            best = big
            if 0 <= j <= len(two):
                if j > 0:
                    best = row[k] + (one[i - 1] != two[j - 1])
                    if k > 0:
                        best = min(best, following[k - 1] + 1)
                if k + 1 < width:
                    best = min(best, row[k + 1] + 1)
                best = min(best, big)
            following[k] = best
            least = min(least, best)
        if least >= big:
            return big
        row, following = following, row
    return min(row[len(two) - len(one) + limit], big)
