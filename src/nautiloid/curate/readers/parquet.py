"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.parquet as pq

from nautiloid.curate.page import Fault
from nautiloid.curate.reader import Item, Limits, Reader, Unit, reader
from nautiloid.curate.readers._files import UNIT_BYTES, Entry, file_name, fresh_listing
from nautiloid.curate.readers._rows import Columns

SUFFIXES = (".parquet",)
BATCH_ROWS = 64


@reader("parquet")
@dataclass(frozen=True, kw_only=True)
class Parquet(Reader):
    """Documents or pages of rows.

    Args:
        columns: Where a row keeps what.
        skip: Endings of files that are left out, also when they are named.
    """

    columns: Columns = field(default_factory=Columns)
    skip: tuple[str, ...] = ()

    def units(self) -> Sequence[Unit]:
        """Runs of row groups; `start` and `stop` count row groups."""
        units: list[Unit] = []
        for entry in fresh_listing(self.paths, SUFFIXES, self.skip):
            units.extend(self._units(entry))
        return units

    def read(self, unit: Unit, limits: Limits) -> Iterator[Item]:
        """Rows in the order of the file."""
        name = file_name(unit)
        try:
            with pq.ParquetFile(unit.path) as file:
                wanted = self.columns.top()
                columns = [c for c in file.schema_arrow.names if c in wanted]
                groups = range(file.num_row_groups)[unit.start : unit.stop]
                number = sum(file.metadata.row_group(g).num_rows for g in range(unit.start))
                for group in groups:
                    rows = file.metadata.row_group(group).num_rows
                    yield from self._group(file, group, columns, name, number, limits)
                    number += rows
        except (pa.ArrowException, OSError) as error:
            yield Fault(name, "unreadable", _brief(error), None)

    def _units(self, entry: Entry) -> Iterator[Unit]:
        whole = Unit(entry.name, entry.path, 0, None, entry.size_bytes)
        try:
            with pq.ParquetFile(entry.path) as file:
                metadata = file.metadata
                sizes = [metadata.row_group(g).total_byte_size for g in range(file.num_row_groups)]
                self.columns.check(file.schema_arrow.names, entry.name)
        except (pa.ArrowException, OSError):
            yield whole  # counted when it is read
            return
        start = size = 0
        parts: list[tuple[int, int, int]] = []
        for group, bytes_ in enumerate(sizes):
            if group > start and size + bytes_ > UNIT_BYTES:
                parts.append((start, group, size))
                start, size = group, 0
            size += bytes_
        if not parts:
            yield whole
            return
        for first, last, weight in [*parts, (start, len(sizes), size)]:
            yield Unit(f"{entry.name}:{first:09d}", entry.path, first, last, weight)

    def _group(
        self,
        file: pq.ParquetFile,
        group: int,
        columns: list[str],
        name: str,
        number: int,
        limits: Limits,
    ) -> Iterator[Item]:
        """Rows of one row group; damage costs the group from the bad batch on."""
        rows = file.metadata.row_group(group).num_rows
        done = 0
        try:
            for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns):
                for index in range(batch.num_rows):
                    # a row at a time: a batch of large cells as Python objects takes much memory
                    row = {c: batch.column(i)[index].as_py() for i, c in enumerate(columns)}
                    place = f"{name}:{number + done + 1}"
                    done += 1
                    given = self.columns.item(
                        row, name=f"{name}@{number + done - 1}", licence=self.licence, limits=limits
                    )
                    if isinstance(given, Fault):
                        given = replace(given, place=place)
                    if given is not None:
                        yield given
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            yield Fault(f"{name}:{number + done + 1}", "corrupt_record", _brief(error), rows - done)


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
