"""Sets of numbers of many documents in one file, and pairs of them compared a block at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nautiloid.core.errors import missing_extra
from nautiloid.curate.dedup._forest import find, unite
from nautiloid.curate.dedup._spool import Spool

try:
    from numba import njit
except ModuleNotFoundError:
    raise missing_extra("numba", "curate") from None


class Arena:
    """Sorted sets behind each other in a file; memory holds 16 bytes a document and two blocks.

    Args:
        folder: For its files; it is made.
        documents: Sorted numbers [C] of the documents whose sets will be added.
        kind: Type of the members.
    """

    def __init__(self, folder: Path, documents: NDArray[np.int64], kind: Any):
        folder.mkdir(parents=True)
        self.folder = folder
        self.documents = documents
        self.kind = np.dtype(kind)
        self.bounds = np.zeros(len(documents) + 1, np.int64)
        self._filled = 0

    def add(self, members: NDArray[Any], counts: NDArray[np.int64]) -> None:
        """The sets of the next documents, behind each other, with the size of each."""
        with (self.folder / "sets").open("ab") as handle:
            members.astype(self.kind, copy=False).tofile(handle)
        stop = self._filled + len(counts)
        self.bounds[self._filled + 1 : stop + 1] = self.bounds[self._filled] + np.cumsum(counts)
        self._filled = stop

    def sweep(
        self, rows: Iterable[NDArray[np.uint64]], width: int, memory_bytes: int
    ) -> Iterator[tuple[NDArray[np.uint64], tuple[Any, ...]]]:
        """Rows whose first two columns are documents, with the sets of both in memory.

        Two blocks of sets are held at a time; every block meets every other one once, so reading
        costs as many passes over the file as it has blocks.

        Yields:
            Rows [n, width] whose first two columns are positions in `documents` now, and
            `(bounds, left, left_start, right, right_start)`: members and where they start.
        """
        assert self._filled == len(self.documents)
        cuts = self._cuts(memory_bytes // 4 // self.kind.itemsize)
        blocks = len(cuts) - 1
        spool = Spool(self.folder / f"rows_{width}", width, blocks * blocks)
        for found in rows:
            found = found.copy()
            found[:, :2] = np.searchsorted(self.documents, found[:, :2].astype(np.int64))
            block = np.searchsorted(cuts, found[:, :2].astype(np.int64), side="right") - 1
            spool.append(found, block[:, 0] * blocks + block[:, 1])
        chunk = max(1 << 12, memory_bytes // 16 // (8 * width))
        for i in range(blocks):
            left = None
            for j in range(blocks):
                for found in spool.chunks(i * blocks + j, chunk):
                    if left is None:
                        left = self._load(cuts[i], cuts[i + 1])
                    right = left if i == j else self._load(cuts[j], cuts[j + 1])
                    starts = self.bounds[cuts[i]], self.bounds[cuts[j]]
                    yield found, (self.bounds, left, starts[0], right, starts[1])
                spool.remove(i * blocks + j)

    def _cuts(self, members: int) -> NDArray[np.int64]:
        """Positions where blocks of at most so many members start, and the end."""
        cuts = [0]
        while cuts[-1] < len(self.documents):
            reach = np.searchsorted(self.bounds, self.bounds[cuts[-1]] + members, side="right") - 1
            cuts.append(max(int(reach), cuts[-1] + 1))
        return np.array(cuts if len(cuts) > 1 else [0, 0], np.int64)

    def _load(self, first: int, last: int) -> NDArray[Any]:
        count = int(self.bounds[last] - self.bounds[first])
        offset = int(self.bounds[first]) * self.kind.itemsize
        return np.fromfile(self.folder / "sets", self.kind, count, offset=offset)


@njit(cache=True, nogil=True, inline="always")
def _common(left: Any, i: int, i_end: int, right: Any, j: int, j_end: int) -> int:
    """Members of both of two sorted runs."""
    count = 0
    while i < i_end and j < j_end:
        x, y = left[i], right[j]
        count += x == y
        i += x <= y
        j += y <= x
    return count


@njit(cache=True, nogil=True)
def compare(rows: Any, sets: Any, out: Any) -> None:
    """Jaccard index [n] of the sets of each row."""
    bounds, left, left_start, right, right_start = sets
    for n in range(len(rows)):
        i, j = np.int64(rows[n, 0]), np.int64(rows[n, 1])
        common = _common(
            left, bounds[i] - left_start, bounds[i + 1] - left_start,
            right, bounds[j] - right_start, bounds[j + 1] - right_start,
        )  # fmt: skip
        union = bounds[i + 1] - bounds[i] + bounds[j + 1] - bounds[j] - common
        out[n] = common / union if union > 0 else 0.0


@njit(cache=True, nogil=True)
def join_similar(rows: Any, sets: Any, documents: Any, parent: Any, threshold: float) -> int:
    """Unite the documents of every row whose Jaccard index reaches the threshold.

    Rows that are connected already are passed over, which does not change the components, and those
    whose sizes alone forbid it. Returns how many were compared.
    """
    bounds, left, left_start, right, right_start = sets
    compared = 0
    for n in range(len(rows)):
        i, j = np.int64(rows[n, 0]), np.int64(rows[n, 1])
        size, other = bounds[i + 1] - bounds[i], bounds[j + 1] - bounds[j]
        if min(size, other) < threshold * max(size, other) - 1e-9:
            continue
        if find(parent, documents[i]) == find(parent, documents[j]):
            continue
        common = _common(
            left, bounds[i] - left_start, bounds[i + 1] - left_start,
            right, bounds[j] - right_start, bounds[j + 1] - right_start,
        )  # fmt: skip
        compared += 1
        # a quotient that is the threshold but for rounding reaches it
        if common >= threshold * (size + other - common) - 1e-9:
            unite(parent, documents[i], documents[j])
    return compared
