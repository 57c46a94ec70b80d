"""Hashes of shingles, signatures and sets of a batch of documents, compiled.

A document is an array of code points, lower-cased and composed by `fold`. The kernels collapse white
space, cut shingles and hash them to 64 bits; `_reference.py` holds the same in plain Python and numpy.
Legend: documents lie one behind the other in `codes`; document i is `codes[bounds[i]:bounds[i + 1]]`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nautiloid.core.errors import missing_extra

try:
    from numba import njit
except ModuleNotFoundError:
    raise missing_extra("numba", "curate") from None

U64 = np.uint64
# Odd multipliers: of the rolling polynomial over shingles, of the hash inside a word (FNV's prime has
# too few bits, this is Knuth's for 64 bits), and the two of MurmurHash3's finaliser; START of a word.
BASE = U64(0x9E3779B97F4A7C15)
WORD = U64(0x5851F42D4C957F2D)
MIX_1 = U64(0xFF51AFD7ED558CCD)
MIX_2 = U64(0xC4CEB9FE1A85EC53)
START = U64(0x243F6A8885A308D3)
TEXT_1 = U64(0xD6E8FEB86659FD93)
TEXT_2 = U64(0xA0761D6478BD642F)
S29, S32, S33 = U64(29), U64(32), U64(33)
# values of a signature are made from this many shingles at a time, which fit in the nearest cache
TILE = 4096
EMPTY = np.uint32(0xFFFFFFFF)

SPACE, JOINT, LETTER, ALONE, NOTHING = 0, 1, 2, 3, 4


@lru_cache(maxsize=1)
def classes() -> NDArray[np.uint8]:
    """What a code point below 0x3100 is: white space, punctuation, letter, a word by itself, nothing.

    Characters of scripts that put no space between words (CJK, kana, Thai, Lao, Khmer, Myanmar)
    are words by themselves; soft hyphens and zero-width characters are nothing at all.
    """
    table = np.full(0x3100, LETTER, np.uint8)
    table[:0x80] = [LETTER if chr(c).isalnum() else JOINT for c in range(0x80)]
    table[:0x21] = SPACE
    table[0x7F:0xA1] = SPACE
    table[0xA1:0xC0] = JOINT
    table[[0xAA, 0xB2, 0xB3, 0xB5, 0xB9, 0xBA, 0xBC, 0xBD, 0xBE]] = LETTER
    for first, last in ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF)):
        table[first : last + 1] = ALONE
    table[0x2000:0x2070] = JOINT
    table[0x3000:0x3040] = JOINT
    for space in (0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000):
        table[space] = SPACE
    table[[0xAD, 0x200B, 0x200C, 0x200D, 0x2060]] = NOTHING
    return table


def fold(text: str) -> str:
    """Canonically composed (NFC) and lower case: what is compared, apart from white space."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text).lower()


def join(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Code points of folded texts behind each other, and the bounds of each."""
    data = "".join(texts).encode("utf-32-le", "surrogatepass")
    bounds = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(t) for t in texts], out=bounds[1:])
    return np.frombuffer(data, np.uint32), bounds


def multipliers(seed: int, count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Odd factors and offsets of `count` permutations `a x + b` of the 32-bit numbers (splitmix64)."""
    state = (np.arange(1, 2 * count + 1, dtype=U64) + U64(seed << 20)) * BASE
    drawn = (mix(state) >> S32).astype(np.uint32)
    return drawn[:count] | np.uint32(1), drawn[count:]


def mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """MurmurHash3's 64-bit finaliser, a permutation."""
    x = (x ^ (x >> S33)) * MIX_1
    x = (x ^ (x >> S33)) * MIX_2
    return x ^ (x >> S33)


@njit(cache=True, nogil=True, inline="always")
def _mix(x: Any) -> Any:
    x = (x ^ (x >> S33)) * MIX_1
    x = (x ^ (x >> S33)) * MIX_2
    return x ^ (x >> S33)


@njit(cache=True, nogil=True, inline="always")
def _kind(code: Any, table: Any) -> Any:
    if code < 0x3100:
        return table[code]
    if (
        (0x3400 <= code <= 0x9FFF and not 0x4DC0 <= code < 0x4E00)
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x3FFFF
    ):
        return ALONE
    if code == 0xFEFF:
        return NOTHING
    if 0xFF01 <= code <= 0xFF0F or 0xFF1A <= code <= 0xFF20:
        return JOINT
    return LETTER


@njit(cache=True, nogil=True)
def _collapse(codes: Any, table: Any, out: Any, kinds: Any) -> int:
    """White space runs to one space, none at the ends; returns the length, and what each is in `kinds`.

    Every step writes and only some advance: branches on words and spaces are not predicted well.
    """
    count = 0
    before = SPACE
    for code in codes:
        kind = _kind(code, table)
        out[count] = 32 if kind == SPACE else code
        kinds[count] = kind
        is_shown = (kind != NOTHING) & ((kind != SPACE) | (before != SPACE))
        count += is_shown
        before = kind if is_shown else before
    return count - 1 if count > 0 and before == SPACE else count


@njit(cache=True, nogil=True)
def _text_hash(text: Any) -> Any:
    """Two 64-bit hashes, two characters at a time.

    A multiplication and a shift each, so no sums of powers cancel as in a polynomial.
    """
    first = U64(len(text))
    second = ~first
    for i in range(0, len(text) - 1, 2):
        c = U64(text[i]) << S32 | U64(text[i + 1])
        first = (first ^ c) * TEXT_1
        first ^= first >> S29
        second = (second ^ c) * TEXT_2
        second ^= second >> S32
    if len(text) % 2 == 1:
        first = (first ^ U64(text[-1])) * TEXT_1
        second = (second ^ U64(text[-1])) * TEXT_2
    return _mix(first), _mix(second)


@njit(cache=True, nogil=True)
def _roll(values: Any, count: int, size: int, out: Any) -> int:
    """Hashes of all runs of `size` values, or of all `count` values when there are fewer."""
    power = U64(1)
    for _ in range(size):
        power *= BASE
    h = U64(0)
    for i in range(min(size, count)):
        h = h * BASE + U64(values[i])
    if count < size:
        out[0] = h + U64(count) * power
        count = size
    else:
        out[0] = h
        for i in range(size, count):
            h = h * BASE + U64(values[i]) - U64(values[i - size]) * power
            out[i - size + 1] = h
    for i in range(count - size + 1):
        out[i] = _mix(out[i])
    return count - size + 1


@njit(cache=True, nogil=True)
def _words(text: Any, kinds: Any, out: Any) -> int:
    """Hashes of the words of a collapsed text, as FNV-1a makes them but with 64 random bits."""
    count = 0
    word = START
    for i in range(len(text)):
        if kinds[i] == ALONE:
            if word != START:
                count += 1
            out[count] = (START ^ U64(text[i])) * WORD
            count += 1
            word = START
            continue
        is_letter = kinds[i] == LETTER
        # the hash so far is written and stays where the word has ended
        count += (not is_letter) & (word != START)
        word = (word ^ U64(text[i])) * WORD if is_letter else START
        out[count] = word
    return count + 1 if word != START else count


@njit(cache=True, nogil=True)
def _cut(text: Any, kinds: Any, by_words: bool, size: int, words: Any, out: Any) -> int:
    """Shingle hashes of a collapsed text; a text without words is one shingle, an empty one none."""
    if len(text) == 0:
        return 0
    if not by_words:
        return _roll(text, len(text), size, out)
    count = _words(text, kinds, words)
    if count == 0:
        return _roll(text, len(text), len(text), out)
    return _roll(words, count, size, out)


@njit(cache=True, nogil=True)
def _longest(bounds: Any) -> int:
    longest = 1
    for i in range(len(bounds) - 1):
        longest = max(longest, bounds[i + 1] - bounds[i])
    return longest


@njit(cache=True, nogil=True)
def signatures(
    codes: Any, bounds: Any, table: Any, by_words: bool, size: int, a: Any, b: Any,
    hashes: Any, values: Any,
) -> None:  # fmt: skip
    """Fill the text hashes [D, 2] and the minima of `a x + b` over the shingles [D, P]."""
    longest = _longest(bounds)
    text = np.empty(longest + 1, np.uint32)
    kinds = np.empty(longest + 1, np.uint8)
    words = np.empty(longest + 1, U64)
    shingles = np.empty(longest, U64)
    x = np.empty(TILE, np.uint32)
    for d in range(len(bounds) - 1):
        length = _collapse(codes[bounds[d] : bounds[d + 1]], table, text, kinds)
        hashes[d, 0], hashes[d, 1] = _text_hash(text[:length])
        count = _cut(text[:length], kinds, by_words, size, words, shingles)
        values[d] = EMPTY
        for start in range(0, count, TILE):
            width = min(TILE, count - start)
            for i in range(width):
                x[i] = np.uint32(shingles[start + i] >> S32)
            for p in range(len(a)):
                ap, bp = a[p], b[p]
                least = values[d, p]
                for i in range(width):
                    least = min(least, np.uint32(x[i] * ap + bp))
                values[d, p] = least


@njit(cache=True, nogil=True)
def band_hashes(values: Any, bands: int, rows: int, out: Any) -> None:
    """One 64-bit number a band [D, bands]; equal where all its rows are."""
    for d in range(len(values)):
        for band in range(bands):
            h = U64(band + 1) * BASE
            for r in range(rows):
                h = (h ^ U64(values[d, band * rows + r])) * WORD
                h ^= h >> S29
            out[d, band] = _mix(h)


@njit(cache=True, nogil=True)
def sets(
    codes: Any, bounds: Any, table: Any, by_words: bool, size: int, out: Any, counts: Any
) -> int:
    """Distinct shingle hashes (their upper 32 bits, sorted) of each document, behind each other.

    `out` has room for as many as there are code points; returns how many were written.
    """
    longest = _longest(bounds)
    text = np.empty(longest + 1, np.uint32)
    kinds = np.empty(longest + 1, np.uint8)
    words = np.empty(longest + 1, U64)
    shingles = np.empty(longest, U64)
    total = 0
    for d in range(len(bounds) - 1):
        length = _collapse(codes[bounds[d] : bounds[d + 1]], table, text, kinds)
        count = _cut(text[:length], kinds, by_words, size, words, shingles)
        found = np.empty(count, np.uint32)
        for i in range(count):
            found[i] = np.uint32(shingles[i] >> S32)
        found.sort()
        kept = 0
        for i in range(count):
            if i == 0 or found[i] != found[i - 1]:
                out[total + kept] = found[i]
                kept += 1
        counts[d] = kept
        total += kept
    return total


@njit(cache=True, nogil=True)
def _runs(codes: Any, table: Any, size: int, out: Any) -> int:
    text = np.empty(len(codes) + 1, np.uint32)
    kinds = np.empty(len(codes) + 1, np.uint8)
    words = np.empty(len(codes) + 1, U64)
    length = _collapse(codes, table, text, kinds)
    count = _words(text[:length], kinds, words)
    return _roll(words, count, size, out) if count >= size else 0


def word_runs(folded: str, size: int) -> NDArray[np.uint64]:
    """Hashes of all runs of `size` words of a folded text, in order; none of a shorter one."""
    codes, _ = join([folded])
    out = np.empty(len(codes), U64)
    return out[: _runs(codes, classes(), size, out)]
