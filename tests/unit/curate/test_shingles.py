"""Compiled shingles and signatures: equal to the reference, true to the theory of MinHash."""

from __future__ import annotations

import random

import numpy as np
import pytest

pytest.importorskip("numba")

from nautiloid.curate.dedup import _reference as plain
from nautiloid.curate.dedup import _shingles as fast

TEXTS = [
    "",
    " \t\n ",
    "a",
    "short",
    "!!! ... !!!",
    "One two three four five six seven eight nine ten.",
    "  White \u00a0 space\r\n\tcollapses,\u2003and so-called \u00adsoft hyphens go. \x00 NUL too ",
    "\u4e2d\u6587\u6ca1\u6709\u7a7a\u683c\u6240\u4ee5\u6bcf\u4e2a\u5b57\u662f\u4e00\u4e2a\u8bcd and then English words",
    "E\u0301cole \u00e9cole \u00c9COLE stra\u00dfe STRASSE \U0001d49c\U0001d4b7 \ud800 lone",
    "\u0e20\u0e32\u0e29\u0e32 \uff01\uff02\ufeffx \uff21\uff22 \uac00\ub098 \ub2e4\ub77c",
    "$x^2 + y^2 = z^2$ and $\\frac{a}{b}$ " * 9,
]


def run(texts: list[str], by: str, size: int, bands: int, rows: int):
    folded = [fast.fold(t) for t in texts]
    codes, bounds = fast.join(folded)
    a, b = fast.multipliers(42, bands * rows)
    hashes = np.empty((len(texts), 2), np.uint64)
    values = np.empty((len(texts), bands * rows), np.uint32)
    table = fast.classes()
    fast.signatures(codes, bounds, table, by == "words", size, a, b, hashes, values)
    banded = np.empty((len(texts), bands), np.uint64)
    fast.band_hashes(values, bands, rows, banded)
    return folded, hashes, values, banded, (a, b)


@pytest.mark.parametrize(
    ("by", "size"), [("words", 5), ("words", 1), ("characters", 24), ("characters", 3)]
)
def test_equal_to_the_reference(by, size):
    folded, _, values, banded, (a, b) = run(TEXTS, by, size, 4, 3)
    codes, bounds = fast.join(folded)
    flat = np.empty(len(codes), np.uint32)
    counts = np.empty(len(TEXTS), np.int64)
    total = fast.sets(codes, bounds, fast.classes(), by == "words", size, flat, counts)
    ends = np.cumsum(counts)
    assert total == ends[-1]
    for i, text in enumerate(folded):
        expected = plain.shingles(text, by, size)
        np.testing.assert_array_equal(values[i], plain.signature(expected, a, b))
        assert banded[i].tolist() == plain.band_hashes(values[i], 4, 3)
        found = flat[ends[i] - counts[i] : ends[i]]
        assert found.tolist() == sorted({h >> 32 for h in expected})


def test_long_texts_cross_tiles():
    text = " ".join(str(i * i) for i in range(3_000))
    assert len(text) > 2 * fast.TILE
    folded, _, values, _, (a, b) = run([text, text[::-1]], "characters", 24, 2, 2)
    for i in range(2):
        expected = plain.signature(plain.shingles(folded[i], "characters", 24), a, b)
        np.testing.assert_array_equal(values[i], expected)


def test_text_hash_sees_what_is_compared():
    texts = ["A  b\nc", "a b c", " a b c ", "a bc", "a b d", "", "\u00e9", "e\u0301"]
    _, hashes, *_ = run(texts, "words", 5, 1, 1)
    pairs = [tuple(h) for h in hashes.tolist()]
    assert pairs[0] == pairs[1] == pairs[2]
    assert pairs[6] == pairs[7]
    assert len({pairs[0], *pairs[3:7]}) == 5


def test_permutations_are_bijections_that_differ():
    a, b = fast.multipliers(1, 600)
    assert (a % 2 == 1).all()
    assert len(set(a.tolist())) == len(set(b.tolist())) == 600
    assert (a != fast.multipliers(2, 600)[0]).mean() > 0.99


@pytest.mark.parametrize(("bands", "rows"), [(20, 13), (20, 8)])
@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8, 0.9])
def test_collisions_follow_the_theory(bands, rows, similarity):
    """Pairs of sets with an exact Jaccard index: the rate of shared bands is 1 - (1 - s^r)^b."""
    draw = random.Random(int(similarity * 100))
    count, size = 800, 150
    shared = round(size * similarity)
    texts: list[str] = []
    for _ in range(count):
        own = (size - shared) // 2
        union = [f"{draw.getrandbits(40):x}" for _ in range(shared + 2 * own)]
        texts += [" ".join(union[:shared] + union[shared : shared + own])]
        texts += [" ".join(union[:shared] + union[shared + own :])]
    *_, banded, _ = run(texts, "words", 1, bands, rows)
    rate = (banded[0::2] == banded[1::2]).any(1).mean()
    exact = shared / (shared + 2 * ((size - shared) // 2))
    expected = plain.collision_rate(exact, bands, rows)
    # four standard deviations of a share of the pairs
    assert abs(rate - expected) < 4 * max(0.003, (expected * (1 - expected) / count) ** 0.5)


def test_signatures_of_datasketch_agree():
    """The oracle estimates the same index from its own permutations."""
    datasketch = pytest.importorskip("datasketch")
    draw = random.Random(7)
    base = [f"w{draw.getrandbits(20)}" for _ in range(300)]
    changed = [w if draw.random() > 0.03 else "changed" for w in base]
    texts = [" ".join(base), " ".join(changed)]
    _, _, values, _, _ = run(texts, "words", 5, 64, 8)
    ours = (values[0] == values[1]).mean()
    oracle = []
    for text in texts:
        minhash = datasketch.MinHash(num_perm=512)
        words = text.split()
        for i in range(len(words) - 4):
            minhash.update(" ".join(words[i : i + 5]).encode())
        oracle.append(minhash)
    exact = plain.jaccard(*(set(plain.shingles(t, "words", 5)) for t in texts))
    assert abs(ours - exact) < 0.07
    assert abs(oracle[0].jaccard(oracle[1]) - exact) < 0.07
