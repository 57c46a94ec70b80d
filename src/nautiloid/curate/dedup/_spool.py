"""Records too many for memory, in files by partition; each partition is then worked on alone."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@contextlib.contextmanager
def workspace(out: Path) -> Generator[Path, None, None]:
    """An empty folder beside `out` that goes with the body, and what a killed run left there before."""
    folder = out.with_name(f"{out.name}.work")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Spool:
    """Rows of 64-bit numbers, appended in blocks and read back by partition.

    Args:
        folder: Where its files go; it is made.
        width: Numbers a row.
        parts: Partitions.
    """

    def __init__(self, folder: Path, width: int, parts: int = 1):
        self.folder = folder
        self.width = width
        self.parts = parts
        folder.mkdir(parents=True)

    def append(self, rows: NDArray[np.uint64], part: NDArray[Any] | None = None) -> None:
        """Add rows [n, width], each to its partition [n] (all to the first when None)."""
        if self.parts == 1 or part is None:
            self._write(0, rows)
            return
        order = np.argsort(part, kind="stable")
        ends = np.searchsorted(part[order], np.arange(self.parts), side="right")
        start = 0
        for index, end in enumerate(ends.tolist()):
            if end > start:
                self._write(index, rows[order[start:end]])
            start = end

    def read(self, part: int) -> NDArray[np.uint64]:
        """All rows of a partition, in the order they came."""
        path = self._path(part)
        if not path.exists():
            return np.empty((0, self.width), np.uint64)
        return np.fromfile(path, np.uint64).reshape(-1, self.width)

    def chunks(self, part: int, rows: int) -> Iterator[NDArray[np.uint64]]:
        """The rows of a partition, at most `rows` at a time."""
        path = self._path(part)
        if not path.exists():
            return
        with path.open("rb") as handle:
            while len(found := np.fromfile(handle, np.uint64, rows * self.width)):
                yield found.reshape(-1, self.width)

    def remove(self, part: int) -> None:
        """Delete a partition that has been worked on."""
        self._path(part).unlink(missing_ok=True)

    def _path(self, part: int) -> Path:
        return self.folder / f"{part:05d}.u64"

    def _write(self, part: int, rows: NDArray[np.uint64]) -> None:
        with self._path(part).open("ab") as handle:
            np.ascontiguousarray(rows, np.uint64).tofile(handle)


def parts_for(rows: int, row_bytes: int, memory_bytes: int) -> int:
    """Partitions so that one, with the copies that sorting makes, fits in the memory."""
    return max(1, -(-rows * row_bytes * 4 // memory_bytes))
