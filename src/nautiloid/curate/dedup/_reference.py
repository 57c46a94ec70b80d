"""Shingles, signatures and sets in plain Python and numpy: what `_shingles.py` must compute."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nautiloid.curate.dedup import _shingles as fast

TABLE = fast.classes().tolist()
MASK = (1 << 64) - 1
BASE, WORD = int(fast.BASE), int(fast.WORD)


def kind(char: str) -> int:
    """Class of a character: white space, punctuation, letter, a word by itself or nothing."""
    code = ord(char)
    if code < 0x3100:
        return TABLE[code]
    alone = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
    if any(first <= code <= last for first, last in alone):
        return fast.ALONE
    if code == 0xFEFF:
        return fast.NOTHING
    if 0xFF01 <= code <= 0xFF0F or 0xFF1A <= code <= 0xFF20:
        return fast.JOINT
    return fast.LETTER


def collapse(text: str) -> str:
    """Runs of white space as one space, none at the ends, characters without width left out."""
    shown = "".join(c for c in text if kind(c) != fast.NOTHING)
    return " ".join("".join(" " if kind(c) == fast.SPACE else c for c in shown).split())


def words(text: str) -> list[str]:
    """Runs of letters and digits; characters of scripts without spaces one by one."""
    found = [""]
    for char in text:
        if kind(char) == fast.LETTER:
            found[-1] += char
        else:
            found += [char, ""] if kind(char) == fast.ALONE else [""]
    return [w for w in found if w]


def shingles(text: str, by: Literal["words", "characters"], size: int) -> list[int]:
    """64-bit hashes of all shingles of a folded text, in order."""
    text = collapse(text)
    values = [ord(c) for c in text]
    if by == "words" and (found := words(text)):
        values = [_word_hash(w) for w in found]
    elif by == "words":
        size = len(values)
    if not values:
        return []
    if len(values) < size:
        return [_mix(_polynomial(values) + len(values) * pow(BASE, size, 1 << 64))]
    return [_mix(_polynomial(values[i : i + size])) for i in range(len(values) - size + 1)]


def signature(
    hashes: list[int], a: NDArray[np.uint32], b: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    """Minimum of each permutation `a x + b` over the upper 32 bits of the hashes [P]."""
    x = np.array([h >> 32 for h in hashes], np.uint32)
    if not len(x):
        return np.full(len(a), fast.EMPTY)
    return (x[:, None] * a + b).min(0)


def band_hashes(values: NDArray[np.uint32], bands: int, rows: int) -> list[int]:
    """One 64-bit number a band of a signature."""
    found: list[int] = []
    for band in range(bands):
        h = (band + 1) * BASE & MASK
        for value in values[band * rows : (band + 1) * rows]:
            h = (h ^ int(value)) * WORD & MASK
            h ^= h >> 29
        found.append(_mix(h))
    return found


def jaccard(first: set[int], second: set[int]) -> float:
    """Shared share of two sets; 0 for two empty ones."""
    return len(first & second) / max(1, len(first | second))


def collision_rate(similarity: float, bands: int, rows: int) -> float:
    """Probability that two documents share a band: 1 - (1 - s^r)^b.

    >>> round(collision_rate(0.8, 20, 13), 3), round(collision_rate(0.85, 20, 13), 3)
    (0.677, 0.924)
    """
    return 1 - (1 - similarity**rows) ** bands


def _word_hash(word: str) -> int:
    h = int(fast.START)
    for char in word:
        h = (h ^ ord(char)) * WORD & MASK
    return h


def _polynomial(values: list[int]) -> int:
    h = 0
    for value in values:
        h = h * BASE + value & MASK
    return h


def _mix(x: int) -> int:
    x &= MASK
    x = (x ^ (x >> 33)) * int(fast.MIX_1) & MASK
    x = (x ^ (x >> 33)) * int(fast.MIX_2) & MASK
    return x ^ (x >> 33)
