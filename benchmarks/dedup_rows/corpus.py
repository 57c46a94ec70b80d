"""A corpus with planted near duplicates whose Jaccard indices are measured, as Parquet units."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit

from nautiloid.data.sources.python_install import PythonInstall

UNIT = 10_000
LEAST, MOST = 80, 320  # words a document, 0.5 to 2 KB
REAL_BYTES = 12_000_000
# pairs a million documents: Jaccard index of 24-character shingles aimed at -> how many
PAIRS = {0.5: 2_000, 0.6: 2_000, 0.7: 2_000, 0.75: 2_000, 0.8: 9_000, 0.85: 9_000, 0.9: 3_000, 0.95: 3_000}  # fmt: skip
CHARACTERS = 24
CHAINS, CHAIN = 2_000, 4
COPIES, BOILERPLATE = 10_000, 20_000


@dataclass(frozen=True)
class Pair:
    """Two planted documents: their numbers, and the measured indices by words and by characters."""

    first: int
    second: int
    words: float
    characters: float


def word_shingles(text: str) -> set[tuple[str, ...]]:
    """Runs of five words, written down independently of what is measured."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return set(zip(*(words[i:] for i in range(5)), strict=False))


def character_shingles(text: str) -> set[str]:
    """Runs of 24 characters."""
    text = text.lower()
    return {text[i : i + CHARACTERS] for i in range(max(1, len(text) - CHARACTERS + 1))}


def jaccard(first: set[Any], second: set[Any]) -> float:
    """Shared share."""
    return len(first & second) / len(first | second)


def make(folder: Path, count: int) -> list[Pair]:
    """Write `count` documents in units of 10,000 (`id`, `text`); the pairs that were planted."""
    truth = folder / "pairs.json"
    if truth.exists():
        return [Pair(*row) for row in json.loads(truth.read_text())]
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    passages = list(_passages())
    chain = _Chain(passages)
    planted: list[str] = []
    ends: list[tuple[int, int]] = []
    scale = count / 1_000_000
    for index, wanted in PAIRS.items():
        for _ in range(max(1, round(wanted * scale))):
            base = _base(passages, chain, draw)
            ends.append((len(planted), len(planted) + 1))
            planted += [base, _variant(base, index, chain, draw)]
    for _ in range(round(CHAINS * scale)):
        text = _base(passages, chain, draw)
        for _ in range(CHAIN):
            planted.append(text)
            text = _variant(text, 0.86, chain, draw)
    copied = [_base(passages, chain, draw) for _ in range(max(1, round(COPIES * scale / 10)))]
    planted += [copied[i % len(copied)] for i in range(round(COPIES * scale))]
    notice = _base(passages, chain, draw)
    planted += [f"{notice} number {i}" for i in range(round(BOILERPLATE * scale))]
    slots = np.sort(draw.permutation(count)[: len(planted)])
    slots = slots[draw.permutation(len(slots))]
    pairs: list[Pair] = []
    for a, b in ends:
        words = jaccard(word_shingles(planted[a]), word_shingles(planted[b]))
        characters = jaccard(character_shingles(planted[a]), character_shingles(planted[b]))
        pairs.append(Pair(int(slots[a]), int(slots[b]), words, characters))
    _write(folder, count, dict(zip(slots.tolist(), planted, strict=True)), passages, chain, draw)
    rows = [[p.first, p.second, p.words, p.characters] for p in pairs]
    truth.write_text(json.dumps(rows))
    return pairs


def _write(
    folder: Path,
    count: int,
    planted: dict[int, str],
    passages: list[str],
    chain: _Chain,
    draw: np.random.Generator,
) -> None:
    """Real passages once each, spread evenly, and generated text everywhere else."""
    real = iter(passages)
    every = max(1, count // max(1, len(passages)))
    for unit in range(-(-count // UNIT)):
        numbers = range(unit * UNIT, min(count, (unit + 1) * UNIT))
        texts = chain.draw(len(numbers), draw)
        for i, number in enumerate(numbers):
            if number in planted:
                texts[i] = planted[number]
            elif number % every == 0:
                texts[i] = next(real, texts[i])
        table = pa.table({"id": [f"{n:08d}" for n in numbers], "text": texts})
        pq.write_table(table, folder / f"{unit:05d}.parquet", compression="zstd")


def _passages() -> Iterator[str]:
    """Docstrings of installed packages, in pieces of the lengths of all documents."""
    draw = np.random.default_rng(1)
    for sample in PythonInstall(which=("docstrings",), split="all", max_bytes=REAL_BYTES).read():
        words = (sample.text or "").split()
        while len(words) >= LEAST:
            size = int(draw.integers(LEAST, MOST))
            text = " ".join(words[:size])
            if text.isascii() and 400 < len(text) < 4_000:
                yield text
            words = words[size:]


class _Chain:
    """Word bigrams of the passages: what follows a word follows it here."""

    def __init__(self, passages: list[str]):
        numbers: dict[str, int] = {}
        words = [w for text in passages for w in re.findall(r"[A-Za-z0-9]+", text)]
        ids = np.array([numbers.setdefault(w, len(numbers)) for w in words])
        self.names = np.array(list(numbers), object)
        order = np.argsort(ids[:-1], kind="stable")
        self.after = ids[1:][order]
        self.starts = np.searchsorted(ids[:-1][order], np.arange(len(numbers) + 1))
        self.words = ids

    def draw(self, count: int, draw: np.random.Generator) -> list[str]:
        """Documents of 80 to 320 words, lengths even in their logarithm."""
        lengths = np.exp(draw.uniform(np.log(LEAST), np.log(MOST), count)).astype(np.int64)
        bounds = np.r_[0, np.cumsum(lengths)]
        made = np.empty(bounds[-1], np.int64)
        _walk(self.after, self.starts, self.words, draw.random((len(made), 2)), bounds, made)
        names = self.names[made].tolist()
        return [" ".join(names[i:j]) for i, j in pairwise(bounds)]

    def free(self, count: int, draw: np.random.Generator) -> list[str]:
        """Words without context."""
        return self.names[self.words[draw.integers(0, len(self.words), count)]].tolist()


@njit(cache=True)
def _walk(after: Any, starts: Any, words: Any, chance: Any, bounds: Any, out: Any) -> None:
    """Every eighth word is drawn freely, the others follow their predecessor."""
    for d in range(len(bounds) - 1):
        state = -1
        for i in range(bounds[d], bounds[d + 1]):
            count = starts[state + 1] - starts[state] if state >= 0 else 0
            if count == 0 or chance[i, 0] < 1 / 8:
                state = words[int(chance[i, 1] * len(words))]
            else:
                state = after[starts[state] + int(chance[i, 1] * count)]
            out[i] = state


def _base(passages: list[str], chain: _Chain, draw: np.random.Generator) -> str:
    """A real passage or a generated one, made unlike all others: every third word is drawn freely."""
    if draw.random() < 2 / 3:
        words = passages[int(draw.integers(len(passages)))].split()
    else:
        words = chain.draw(1, draw)[0].split()
    words[::3] = chain.free(len(words[::3]), draw)
    return " ".join(words)


def _variant(base: str, index: float, chain: _Chain, draw: np.random.Generator) -> str:
    """Some words of the first half exchanged, then so much of the end that the index by characters is met."""
    words = base.split()
    starts = np.cumsum([0] + [len(w) + 1 for w in words])
    lost = len(base) * (1 - index) / (1 + index)  # shingles that must go
    edits = int(draw.integers(0, int(lost / 2 / 30) + 1))
    places = draw.choice(len(words) // 2, edits, replace=False)
    kept = np.ones(len(base) - CHARACTERS + 1, bool)
    for place, word in zip(places.tolist(), chain.free(edits, draw), strict=True):
        words[place] = word
        kept[max(0, starts[place] - CHARACTERS + 1) : starts[place + 1] - 1] = False
    text = " ".join(words)
    shingles = len(kept) + len(text) - CHARACTERS + 1
    rest = round(int(kept.sum()) - shingles * index / (1 + index))
    end = " ".join(chain.free(max(1, rest), draw))
    return text[: len(text) - rest] + end[:rest] if rest > 0 else text
