"""From sketches to pairs worth a look: equal texts, then documents that share a band.

Buckets of up to `ALL_PAIRS` documents give all their pairs. A larger one gives, for each document, the
pair with the bucket's first and with its `NEIGHBOURS` successors in an order by the hash of the next
band, so that documents which agree in two bands stand side by side; in another band the first and
the order are others. So a bucket of any size costs at most five pairs a document, and a document
that is missed in one band is found in another. Nothing here depends on the order of the documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nautiloid.core.errors import missing_extra
from nautiloid.curate.dedup._corpus import Corpus
from nautiloid.curate.dedup._spool import Spool, parts_for

try:
    from numba import njit
except ModuleNotFoundError:
    raise missing_extra("numba", "curate") from None

ALL_PAIRS = 8
NEIGHBOURS = 4


def band(index: int) -> str:
    """Name of a column of band hashes."""
    return f"band_{index:02d}"


def copies(
    corpus: Corpus,
    first: NDArray[Any],
    folder: Path,
    memory_bytes: int,
    columns: tuple[str, str] = ("hash_0", "hash_1"),
    among: NDArray[np.bool_] | None = None,
) -> None:
    """Set `first` [N] of each document to the first one of the same two hashes.

    Args:
        corpus: Sketches with these columns.
        first: Numbers of the documents themselves at the start.
        folder: For files.
        memory_bytes: For one partition of the hashes.
        columns: The two halves of a 128-bit hash; where both are 0 there is nothing to compare.
        among: Documents [N] that take part; all when None.
    """
    parts = parts_for(corpus.count, 24, memory_bytes)
    spool = Spool(folder, 3, parts)
    for numbers, batch in corpus.batches(columns, among):
        rows = np.empty((len(numbers), 3), np.uint64)
        rows[:, 0], rows[:, 1] = (np.asarray(batch.column(c)) for c in columns)
        rows[:, 2] = numbers
        rows = rows[(rows[:, :2] != 0).any(1)]
        spool.append(rows, rows[:, 0] % np.uint64(parts))
    for part in range(parts):
        rows = spool.read(part)
        spool.remove(part)
        rows = rows[_shared(rows[:, 0])]
        rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
        starts = np.r_[True, (rows[1:, :2] != rows[:-1, :2]).any(1)][: len(rows)]
        leaders = rows[starts, 2][np.cumsum(starts) - 1]
        first[rows[:, 2].astype(np.int64)] = leaders


def pairs(
    corpus: Corpus,
    bands: int,
    is_copy: NDArray[np.bool_],
    folder: Path,
    memory_bytes: int,
    *,
    is_chain: bool,
) -> Iterator[NDArray[np.uint64]]:
    """Pairs of documents [n, 2] that share a band, smaller number first, with repetitions.

    Args:
        corpus: Sketches with columns `band_00`, ... and `hash_0`.
        bands: How many.
        is_copy: Documents [N] that stand behind another one of equal text and are left out.
        folder: For files; one band at a time, a partition of its hashes at a time.
        memory_bytes: For one partition.
        is_chain: Only the pair with the bucket's first, which is enough where nothing is verified.
    """
    all_pairs, neighbours = (0, 0) if is_chain else (ALL_PAIRS, NEIGHBOURS)
    # a row of four numbers, and up to five pairs it may give
    parts = parts_for(corpus.count, 64, memory_bytes)
    for index in range(bands):
        spool = Spool(folder / f"{index:02d}", 4, parts)
        columns = list(dict.fromkeys([band(index), band((index + 1) % bands), "hash_0"]))
        for numbers, batch in corpus.batches(columns):
            rows = np.empty((len(numbers), 4), np.uint64)
            rows[:, 0] = batch.column(columns[0])
            rows[:, 1] = batch.column(columns[-2])
            rows[:, 2] = batch.column("hash_0")
            rows[:, 3] = numbers
            rows = rows[~is_copy[numbers]]
            spool.append(rows, rows[:, 0] % np.uint64(parts))
        for part in range(parts):
            rows = spool.read(part)
            spool.remove(part)
            rows = rows[_shared(rows[:, 0])]
            rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
            if len(rows):
                found = np.empty((_pairs(rows, all_pairs, neighbours, None), 2), np.uint64)
                _pairs(rows, all_pairs, neighbours, found)
                yield found


def _shared(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which keys occur more than once."""
    order = np.argsort(keys)
    ordered = keys[order]
    same = ordered[1:] == ordered[:-1]
    found = np.zeros(len(keys), bool)
    found[order[1:]] = same
    found[order[:-1]] |= same
    return found


@njit(cache=True, nogil=True)
def _pairs(rows: Any, all_pairs: int, neighbours: int, out: Any) -> int:
    """Pairs of the runs of equal first columns; only counted where `out` is None."""
    count = 0
    start = 0
    while start < len(rows):
        stop = start + 1
        while stop < len(rows) and rows[stop, 0] == rows[start, 0]:
            stop += 1
        for i in range(start + 1, stop):
            if stop - start <= all_pairs:
                nearest = start
            else:
                nearest = max(start + 1, i - neighbours)
                count = _add(rows, start, i, out, count)
            for j in range(nearest, i):
                count = _add(rows, j, i, out, count)
        start = stop
    return count


@njit(cache=True, nogil=True, inline="always")
def _add(rows: Any, i: int, j: int, out: Any, count: int) -> int:
    if out is not None:
        out[count, 0] = min(rows[i, 3], rows[j, 3])
        out[count, 1] = max(rows[i, 3], rows[j, 3])
    return count + 1
