"""Rows of Parquet and Arrow files, batch by batch, from any row on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nautiloid.core.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

Rows = Iterator[tuple[int, dict[str, Any]]]
BATCH_ROWS = 256


def count_parquet(path: Path) -> int:
    """Rows of a Parquet file, from its footer."""
    with _open_parquet(path) as file:
        return file.metadata.num_rows


def parquet_rows(path: Path, columns: Iterable[str], start: int) -> Rows:
    """Row numbers and rows from `start` on; row groups before it are not read.

    Args:
        path: The file.
        columns: Columns to read, where the file has them.
        start: First row.

    Raises:
        InputError: Not Parquet, corrupt, or without any of the columns.
    """
    import pyarrow as pa

    with _open_parquet(path) as file:
        wanted = _present(path, file.schema_arrow.names, columns)
        first = 0
        for group in range(file.metadata.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            if first + size > start:
                try:
                    yield from _rows(
                        file.iter_batches(BATCH_ROWS, row_groups=[group], columns=wanted),
                        first,
                        start,
                    )
                except (pa.ArrowException, OSError) as error:
                    raise _corrupt(path, error) from None
            first += size


def _open_parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise _corrupt(path, error) from None


def arrow_rows(path: Path, columns: Iterable[str], start: int) -> Rows:
    """Row numbers and rows of an Arrow IPC stream or file, memory-mapped, from `start` on.

    Raises:
        InputError: Not Arrow, corrupt, or without any of the columns.
    """
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            is_file = source.read(6) == b"ARROW1"
            source.seek(0)
            reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
            wanted = _present(path, reader.schema.names, columns)
            batches: Iterable[pa.RecordBatch] = (
                (reader.get_batch(i) for i in range(reader.num_record_batches))
                if is_file
                else reader
            )
            small = (
                batch.slice(at, BATCH_ROWS).select(wanted)
                for batch in batches
                for at in range(0, batch.num_rows, BATCH_ROWS)
            )
            yield from _rows(small, 0, start)
    except (pa.ArrowException, OSError) as error:
        raise _corrupt(path, error) from None


def read_from(
    files: Iterable[Path],
    rows: Callable[[Path, int], Rows],
    count: Callable[[Path], int | None],
    start: int,
) -> Iterator[tuple[Path, int, dict[str, Any]]]:
    """Chain files as one table; `count` may tell the rows of a file without reading it."""
    for path in files:
        size = count(path) if start else None
        if size is not None and size <= start:
            start -= size
            continue
        seen = 0
        for number, row in rows(path, 0 if size is None else start):
            seen = number + 1
            if number >= start:
                yield path, number, row
        start = max(0, start - seen)


def _rows(batches: Iterable[Any], first: int, start: int) -> Rows:
    for batch in batches:
        size = batch.num_rows
        if first + size > start:
            skip = max(0, start - first)
            yield from enumerate(batch.slice(skip).to_pylist(), first + skip)
        first += size


def _present(path: Path, names: list[str], columns: Iterable[str]) -> list[str]:
    wanted = set(columns)
    present = [name for name in names if name in wanted]
    if not present:
        raise InputError(
            str(path),
            f"columns {', '.join(names)}",
            "name the one that holds the data in source.fields",
        )
    return present


def _corrupt(path: Path, error: Exception) -> InputError:
    return InputError(str(path), f"cannot be read ({error})", "restore or remove the file")
