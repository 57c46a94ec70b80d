"""Lines that many documents share: navigation, notices, headers that extraction left."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nautiloid.curate.dedup._corpus import Corpus
from nautiloid.curate.dedup._spool import Spool, parts_for


def line_hashes(text: str, least_chars: int) -> list[int]:
    """One 64-bit number for each line of `text.split("\\n")`, white space collapsed.

    0 for a line that is never removed: a short one, one of fenced code, one of a display formula.
    """
    found: list[int] = []
    fence = ""
    for line in text.split("\n"):
        plain = " ".join(line.split())
        mark = "$$" if plain.startswith("$$") else plain[:3]
        is_fence = mark in ("```", "~~~", "$$")
        is_inside = bool(fence) or is_fence
        if fence:
            fence = "" if mark == fence or (fence == "$$" and plain.endswith("$$")) else fence
        elif is_fence and not (mark == "$$" and len(plain) > 2 and plain.endswith("$$")):
            fence = mark
        if is_inside or len(plain) < least_chars:
            found.append(0)
        else:
            data = plain.encode("utf-8", "surrogatepass")
            digest = hashlib.blake2b(data, digest_size=8).digest()
            found.append(int.from_bytes(digest, "little"))
    return found


def repeated(
    corpus: Corpus, among: NDArray[np.bool_], documents: int, folder: Path, memory_bytes: int
) -> Spool:
    """Lines that occur in more than so many documents, but for those of the first by rank.

    Args:
        corpus: Sketches with a column `lines`.
        among: Documents [N] that take part.
        documents: Largest number that may share a line.
        folder: For files.
        memory_bytes: For one partition.

    Returns:
        Rows (document, line) of the run, partitioned by ranges of documents of equal length.
    """
    count = 0
    for _, batch in corpus.batches(["lines"], among, rows=1 << 12):
        count += len(batch.column("lines").values)
    parts = parts_for(count, 24, memory_bytes)
    spool = Spool(folder / "hashes", 3, parts)
    for numbers, batch in corpus.batches(["lines"], among, rows=1 << 12):
        lists: Any = batch.column("lines")
        lengths = np.diff(lists.offsets.to_numpy())
        rows = np.empty((int(lengths.sum()), 3), np.uint64)
        rows[:, 0] = lists.flatten().to_numpy()
        rows[:, 1] = np.repeat(numbers, lengths)
        rows[:, 2] = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rows = rows[rows[:, 0] != 0]
        spool.append(rows, rows[:, 0] % np.uint64(parts))
    marked = np.zeros(corpus.count, bool)
    for part in range(parts):
        marked[_frequent(spool.read(part), documents)[:, 1].astype(np.int64)] = True
    rank = np.zeros(corpus.count, np.int64)
    corpus.rank(marked, rank, memory_bytes)
    size = max(1, -(-corpus.new // parts))
    found = Spool(folder / "found", 2, parts)
    for part in range(parts):
        rows = _frequent(spool.read(part), documents)
        spool.remove(part)
        rows = rows[np.lexsort((rank[rows[:, 1].astype(np.int64)], rows[:, 0]))]
        starts = np.r_[True, rows[1:, 0] != rows[:-1, 0]][: len(rows)]
        first = rows[starts, 1][np.cumsum(starts) - 1]
        rows = rows[(rows[:, 1] != first) & (rows[:, 1] < corpus.new), 1:]
        found.append(rows, rows[:, 0] // np.uint64(size))
    return found


def _frequent(rows: NDArray[np.uint64], documents: int) -> NDArray[np.uint64]:
    """Rows (hash, document, line) of hashes that more than so many documents have."""
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    is_new = np.r_[True, rows[1:, 0] != rows[:-1, 0]][: len(rows)]
    is_other = is_new | np.r_[True, rows[1:, 1] != rows[:-1, 1]][: len(rows)]
    starts = np.flatnonzero(is_new)
    distinct = np.add.reduceat(is_other, starts, dtype=np.int64) if len(starts) else starts
    return rows[np.repeat(distinct > documents, np.diff(np.r_[starts, len(rows)]))]
