"""Sketch files as one numbered corpus: documents of this run first, then those of the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nautiloid.core.errors import InputError

SETTINGS = b"nautiloid.sketch"
BATCH = 1 << 16


@dataclass(frozen=True)
class Corpus:
    """Sketch files in order.

    Args:
        paths: Those of the run, unit by unit, then those of the reference.
        units: How many are of the run.
        starts: Number of the first document of each file, and the count at the end.
        settings: The value of the schema metadata `nautiloid.sketch`, the same in all files.
    """

    paths: tuple[Path, ...]
    units: int
    starts: NDArray[np.int64]
    settings: bytes

    @property
    def count(self) -> int:
        """Documents, those of the reference included."""
        return int(self.starts[-1])

    @property
    def new(self) -> int:
        """Documents of the run; those of the reference have larger numbers."""
        return int(self.starts[self.units])

    @staticmethod
    def open(sketches: Sequence[Path], reference: Sequence[str], settings: bytes) -> Corpus:
        """Check and number the documents.

        Raises:
            InputError: A file was made with other settings, or the reference holds no sketches.
        """
        found: list[Path] = []
        for folder in reference:
            known = [p for p in sorted(Path(folder).rglob("*.parquet")) if _is_like(p, settings)]
            if not known:
                name = settings.split(b" ")[0].decode()
                remedy = f"name a folder of {name} sketches of a former run"
                raise InputError("dedup.reference", folder, remedy)
            found += known
        paths = (*map(Path, sketches), *found)
        counts = np.zeros(len(paths) + 1, np.int64)
        for i, path in enumerate(paths):
            if (stored := _settings(path)) != settings:
                raise InputError(
                    str(path),
                    stored.decode() if stored else "no sketches",
                    f"sketch it again with {settings.decode()}",
                )
            counts[i + 1] = pq.read_metadata(path).num_rows
        return Corpus(paths, len(sketches), np.cumsum(counts), settings)

    def batches(
        self, columns: Sequence[str], wanted: NDArray[np.bool_] | None = None, *, rows: int = BATCH
    ) -> Iterator[tuple[NDArray[np.int64], pa.RecordBatch]]:
        """Numbers and columns of the documents in order, a batch at a time.

        Args:
            columns: Names.
            wanted: Only documents marked [N].
            rows: Largest number of documents that are decoded at a time.
        """
        for index, path in enumerate(self.paths):
            start, stop = int(self.starts[index]), int(self.starts[index + 1])
            if start == stop or (wanted is not None and not wanted[start:stop].any()):
                continue
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(rows, columns=list(columns), use_threads=False):
                    stop = start + len(batch)
                    if wanted is None:
                        yield np.arange(start, stop), batch
                    elif len(found := np.flatnonzero(wanted[start:stop])):
                        yield start + found, batch.take(pa.array(found))
                    start = stop

    def place(self, documents: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Unit and row of documents; -1 and -1 for those of the reference."""
        unit = np.searchsorted(self.starts, documents, side="right") - 1
        row = documents - self.starts[unit]
        is_new = documents < self.new
        return np.where(is_new, unit, -1).astype(np.int32), np.where(is_new, row, -1).astype(
            np.int32
        )

    def rank(self, wanted: NDArray[np.bool_], out: NDArray[Any], memory_bytes: int) -> None:
        """Rank [N] of the documents marked: reference first, then quality downwards, then id.

        Sorted in pieces, split at sampled keys, so that only one piece of the ids is in memory.
        """
        sample: list[pa.BinaryArray] = []
        size = 0
        for numbers, batch in self.batches(["id", "quality"], wanted):
            keys = self._keys(numbers, batch)
            size += keys.nbytes + 8 * len(keys)
            sample.append(keys.take(pa.array(np.arange(0, len(keys), 64))))
        pieces = max(1, -(-size * 4 // memory_bytes))
        drawn = pa.concat_arrays(sample).sort() if sample else pa.array([], pa.large_binary())
        cuts = [drawn[len(drawn) * i // pieces] for i in range(1, pieces)]
        total = 0
        for piece in range(pieces):
            numbers_: list[NDArray[np.int64]] = []
            keys_: list[pa.BinaryArray] = []
            for numbers, batch in self.batches(["id", "quality"], wanted):
                keys = self._keys(numbers, batch)
                inside = np.ones(len(keys), bool)
                if piece > 0:
                    inside &= pc.call_function("greater_equal", [keys, cuts[piece - 1]]).to_numpy(
                        zero_copy_only=False
                    )
                if piece < pieces - 1:
                    inside &= pc.call_function("less", [keys, cuts[piece]]).to_numpy(
                        zero_copy_only=False
                    )
                numbers_.append(numbers[inside])
                keys_.append(keys.filter(pa.array(inside)))
            if not keys_:
                continue
            order = pc.call_function("sort_indices", [pa.chunked_array(keys_)]).to_numpy()
            out[np.concatenate(numbers_)[order]] = np.arange(total, total + len(order))
            total += len(order)

    def _keys(self, numbers: NDArray[np.int64], batch: pa.RecordBatch) -> pa.BinaryArray:
        """Bytes whose order is the rank: one for the reference, four of the quality, the id."""
        quality = batch.column("quality").cast(pa.float32()).fill_null(-np.inf).to_numpy()
        bits = np.nan_to_num(quality, nan=-np.inf, posinf=np.inf, neginf=-np.inf) + np.float32(0)
        code = bits.astype(">f4").view(">u4").astype(np.uint32)
        code = np.where(code >> 31, code, ~code & np.uint32(0x7FFFFFFF))
        head = np.empty((len(code), 5), np.uint8)
        head[:, 0] = numbers < self.new
        head[:, 1:] = code.astype(">u4").view(np.uint8).reshape(-1, 4)
        prefix = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(5), len(code), [None, pa.py_buffer(head.tobytes())]
        )
        ids = batch.column("id").cast(pa.large_binary())
        nothing = pa.scalar(b"", pa.large_binary())
        return pc.call_function(
            "binary_join_element_wise", [prefix.cast(pa.large_binary()), ids, nothing]
        )


def _settings(path: Path) -> bytes:
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(str(path), None, f"not readable as Parquet ({error})") from None
    return metadata.get(SETTINGS, b"")


def _is_like(path: Path, settings: bytes) -> bool:
    """Whether a file holds sketches of the same stage, of whatever settings."""
    return _settings(path).split(b" ")[0] == settings.split(b" ")[0]
