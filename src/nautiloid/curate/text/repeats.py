"""Characters of a text that lie in repeated n-grams of words, counted in one compiled pass.

Definitions of Rae et al. 2021 (arXiv 2112.11446, table A1) as datatrove computes them: for small n
the most frequent n-gram, for larger n all repeated ones, where a repetition that was counted is
stepped over so that nothing counts twice.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUntypedFunctionDecorator=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nautiloid.core.errors import missing_extra

try:
    from numba import njit
except ModuleNotFoundError:
    raise missing_extra("numba", "curate") from None


def word_ids(words: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Numbers of the words in order of appearance, and their lengths in characters."""
    ids: dict[str, int] = {}
    numbers = np.fromiter((ids.setdefault(w, len(ids)) for w in words), np.int32, len(words))
    return numbers, np.fromiter(map(len, words), np.int32, len(words))


def top_chars(ids: NDArray[np.int32], lengths: NDArray[np.int32], n: int) -> int:
    """Characters, blanks between words included, of all occurrences of the most frequent n-gram.

    0 where nothing occurs twice; of equally frequent ones the first counts.
    """
    return int(_top(ids, lengths, n))


def repeated_chars(ids: NDArray[np.int32], lengths: NDArray[np.int32], n: int) -> int:
    """Characters, without blanks, of n-grams that occurred before."""
    return int(_repeated(ids, lengths, n))


@njit(cache=True, nogil=True)
def _place(ids, table, start, n):
    """Slot of the n-gram at `start` in a table of first occurrences (-1 empty)."""
    mask = np.uint64(len(table) - 1)
    h = np.uint64(1469598103934665603)
    for k in range(n):
        h = (h ^ np.uint64(ids[start + k])) * np.uint64(1099511628211)
        h ^= h >> np.uint64(29)
    slot = h & mask
    while True:
        first = table[slot]
        if first < 0:
            return slot
        is_same = True
        for k in range(n):
            if ids[first + k] != ids[start + k]:
                is_same = False
                break
        if is_same:
            return slot
        slot = (slot + np.uint64(1)) & mask


@njit(cache=True, nogil=True)
def _table(count):
    size = 16
    while size < 2 * count:
        size *= 2
    return np.full(size, -1, np.int32)


@njit(cache=True, nogil=True)
def _top(ids, lengths, n):
    count = len(ids) - n + 1
    if count < 2:
        return 0
    table = _table(count)
    counts = np.zeros(count, np.int32)
    best = 0
    for start in range(count):
        slot = _place(ids, table, start, n)
        if table[slot] < 0:
            table[slot] = start
        counts[table[slot]] += 1
    for start in range(count):
        if counts[start] > counts[best]:
            best = start
    if counts[best] < 2:
        return 0
    chars = n - 1
    for k in range(n):
        chars += lengths[best + k]
    return chars * counts[best]


@njit(cache=True, nogil=True)
def _repeated(ids, lengths, n):
    count = len(ids) - n + 1
    if count < 2:
        return 0
    table = _table(count)
    chars = 0
    start = 0
    while start < count:
        slot = _place(ids, table, start, n)
        if table[slot] < 0:
            table[slot] = start
            start += 1
        else:
            for k in range(n):
                chars += lengths[start + k]
            start += n
    return chars
