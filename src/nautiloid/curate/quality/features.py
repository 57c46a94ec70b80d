"""Hashed n-grams of words as features of a text, in compiled code.

A word is a run of letters (any byte of a character beyond ASCII counts as one), a run of digits
(only its length matters), a TeX command, a punctuation mark or a line break: dollars, braces and
breaks tell as much about a page as its words. A window of consecutive words becomes a vector of
`1 + log(count)` by hash of its 1- to n-grams, of length 1.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUntypedFunctionDecorator=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nautiloid.core.errors import missing_extra

try:
    from numba import njit
except ModuleNotFoundError:
    raise missing_extra("numba", "curate") from None

Floats = NDArray[np.float32]


class Rows(NamedTuple):
    """Sparse rows: row i holds `values[starts[i]:starts[i + 1]]` in the columns of the same slice."""

    starts: NDArray[np.int64]
    columns: NDArray[np.int32]
    values: Floats


def word_hashes(text: str) -> NDArray[np.uint32]:
    """One hash a word, in order. Case is ignored."""
    data = np.frombuffer(text.lower().encode("utf-8", "surrogatepass"), np.uint8)
    hashes = np.empty(len(data), np.uint32)
    return hashes[: _hash_words(data, hashes)].copy()


def window_bounds(count: int, size: int, most: int) -> NDArray[np.int64]:
    """First words of at most `most` windows of `size` words, spread evenly; one when all fits in.

    >>> window_bounds(100, 60, 8).tolist(), window_bounds(1_000, 100, 3).tolist()
    ([0, 40], [0, 450, 900])
    """
    if count <= size:
        return np.zeros(1, np.int64)
    windows = min(most, -(-count // size))
    if windows == 1:
        return np.array([(count - size) // 2], np.int64)
    return np.round(np.linspace(0, count - size, windows)).astype(np.int64)


def window_rows(
    hashes: NDArray[np.uint32], bounds: NDArray[np.int64], size: int, ngrams: int, bits: int
) -> Rows:
    """Features of the windows that start at `bounds`.

    Args:
        hashes: Of `word_hashes`.
        bounds: Of `window_bounds`.
        size: Words of a window.
        ngrams: Longest n-gram.
        bits: Columns are numbers below 2 to this power.
    """
    most = len(bounds) * min(size, len(hashes)) * ngrams
    starts = np.zeros(len(bounds) + 1, np.int64)
    columns = np.empty(most, np.int32)
    values = np.empty(most, np.float32)
    used = _fill_rows(hashes, bounds, size, ngrams, bits, starts, columns, values)
    return Rows(starts, columns[:used].copy(), values[:used].copy())


def times(rows: Rows, weights: Floats) -> Floats:
    """The product of each row with the weights, summed in float64."""
    out = np.empty(len(rows.starts) - 1, np.float32)
    _times(rows.starts, rows.columns, rows.values, weights, out)
    return out


def transposed_times(rows: Rows, factors: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """The sum of rows, each times its factor."""
    out = np.zeros(width, np.float64)
    _transposed_times(rows.starts, rows.columns, rows.values, factors, out)
    return out


@njit(cache=True, nogil=True)
def _hash_words(data, hashes):
    basis, prime = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # FNV-1a
    count = 0
    at = 0
    size = len(data)
    while at < size:
        c = data[at]
        if c == 32 or c == 9 or c == 13:
            at += 1
            continue
        h = (basis ^ np.uint64(c)) * prime
        at += 1
        is_letter = 97 <= c <= 122 or c >= 128
        if is_letter or c == 92:
            while at < size and (97 <= data[at] <= 122 or data[at] >= 128):
                h = (h ^ np.uint64(data[at])) * prime
                at += 1
        elif 48 <= c <= 57:
            digits = 1
            while at < size and 48 <= data[at] <= 57:
                digits += 1
                at += 1
            h = (basis ^ np.uint64(min(digits, 5))) * prime
        elif c == 10:
            lines = 1
            while at < size and (data[at] == 10 or data[at] == 32 or data[at] == 9):
                lines += data[at] == 10
                at += 1
            h = (h ^ np.uint64(lines > 1)) * prime
        hashes[count] = h >> np.uint64(32)  # numba widens 32-bit products: 64 bits throughout
        count += 1
    return count


@njit(cache=True, nogil=True)
def _fill_rows(hashes, bounds, size, ngrams, bits, starts, columns, values):
    shift = np.uint64(64 - bits)
    buckets = np.empty(min(size, len(hashes)) * ngrams, np.uint32)
    used = 0
    for window in range(len(bounds)):
        first = bounds[window]
        last = min(first + size, len(hashes))
        count = 0
        for start in range(first, last):
            h = np.uint64(0)
            for k in range(min(ngrams, last - start)):
                h = (h ^ np.uint64(hashes[start + k])) * np.uint64(0x9E3779B97F4A7C15)
                h ^= h >> np.uint64(29)
                buckets[count] = (h * np.uint64(0xBF58476D1CE4E5B9)) >> shift
                count += 1
        found = np.sort(buckets[:count])
        square = 0.0
        begin = used
        at = 0
        while at < count:
            stop = at + 1
            while stop < count and found[stop] == found[at]:
                stop += 1
            value = 1.0 + np.log(stop - at)
            columns[used] = found[at]
            values[used] = value
            square += value * value
            used += 1
            at = stop
        if square > 0:
            scale = 1.0 / np.sqrt(square)
            for k in range(begin, used):
                values[k] *= scale
        starts[window + 1] = used
    return used


@njit(cache=True, nogil=True)
def _times(starts, columns, values, weights, out):
    for row in range(len(starts) - 1):
        total = 0.0
        for k in range(starts[row], starts[row + 1]):
            total += values[k] * weights[columns[k]]
        out[row] = total


@njit(cache=True, nogil=True)
def _transposed_times(starts, columns, values, factors, out):
    for row in range(len(starts) - 1):
        for k in range(starts[row], starts[row + 1]):
            out[columns[k]] += values[k] * factors[row]
