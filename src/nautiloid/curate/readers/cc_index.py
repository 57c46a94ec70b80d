"""Pages of Common Crawl by a list of addresses: index join, then one byte range a record.

The index is the columnar one (`cc-index/table/cc-main/warc/crawl=.../subset=warc/*.parquet`), read
from local files; records come over HTTP or from a local mirror of the archive's folders.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from nautiloid.core.errors import InputError
from nautiloid.curate.page import Fault, Page
from nautiloid.curate.reader import Item, Limits, Reader, Unit, reader
from nautiloid.curate.readers import _join
from nautiloid.curate.readers._fetch import Fetcher, Piece, Source
from nautiloid.curate.readers._files import UNIT_BYTES
from nautiloid.curate.readers.warc import read_records

MISSING = "missing"
UNIT_RECORDS = 2000


@reader("cc_index")
@dataclass(frozen=True, kw_only=True)
class CcIndex(Reader):
    """Pages of the addresses in `paths` (text files with one a line, or Parquet).

    Addresses are compared as they are written. The join is kept in memory (about 200 bytes a
    match) and then in `cache`, so a run that goes on, and a run with the same input, starts at once.

    Args:
        index: Files, folders and globs of the index.
        base: Where the archive lies: `https://...` or a folder.
        cache: Folder for the join and, where `keeps_records` says so, for fetched records.
        url_column: Column of addresses in Parquet lists.
        captures: `newest` takes one capture an address, `all` every one.
        mimes: Types, as detected by the crawl, that are fetched; all where it is empty.
        max_records: Fetch no more than this.
        keeps_records: Keep each fetched record in `cache`.
        connections: Requests at a time of one worker.
        attempts: Tries of one request before its record is counted as lost.
        wait_s: Wait after the first failed try; doubled after each further one.
        timeout_s: Longest silence of a server.
    """

    index: tuple[str, ...] = ()
    base: str = "https://data.commoncrawl.org/"
    cache: str = ""
    url_column: str = "url"
    captures: Literal["newest", "all"] = "newest"
    mimes: tuple[str, ...] = ("text/html", "application/xhtml+xml", "text/plain")
    max_records: int | None = None
    keeps_records: bool = True
    connections: int = 4
    attempts: int = 6
    wait_s: float = 1.0
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("connections", "attempts"):
            if getattr(self, name) < 1:
                raise InputError(f"reader.{name}", getattr(self, name), "use 1 or more")

    def units(self) -> Sequence[Unit]:
        """Runs of records that lie next to each other, and one unit that counts what was not found."""
        if not self.cache:
            raise InputError("reader.cache", None, "name a folder for the join and the records")
        found = _join.joined(
            urls=self.paths,
            index=self.index,
            column=self.url_column,
            newest=self.captures == "newest",
            mimes=self.mimes,
            folder=self.cache,
        )
        table = pq.read_table(found.path, columns=["length"])
        sizes: list[int] = table["length"].to_pylist()[: self.max_records]
        units: list[Unit] = []
        start = size = 0
        for row, length in enumerate(sizes):
            if row > start and (size + length > UNIT_BYTES or row - start >= UNIT_RECORDS):
                units.append(_unit(found.path, start, row, size))
                start, size = row, 0
            size += length
        if sizes:
            units.append(_unit(found.path, start, len(sizes), size))
        if found.missing:
            units.append(Unit(MISSING, found.path, 0, 0, 0))
        return units

    def read(self, unit: Unit, limits: Limits) -> Iterator[Item]:
        """Pages in the order of the archive's files."""
        if unit.name == MISSING:
            count, example = _join.missing(unit.path)
            yield Fault("urls", "not_in_index", f"{count} addresses, such as {example}", count)
            return
        source = Source(
            base=self.base,
            attempts=self.attempts,
            wait_s=self.wait_s,
            timeout_s=self.timeout_s,
            cache=os.path.join(self.cache, "records") if self.keeps_records else None,
        )
        try:
            rows = _rows(unit)
        except (pa.ArrowException, OSError) as error:
            raise InputError(unit.path, str(error), "start the run again to join anew") from None
        with Fetcher(source, self.connections) as fetcher:
            for piece, content in fetcher.fetch(rows, limits.page_bytes):
                yield from self._items(piece, content, limits)

    def _items(self, piece: Piece, content: bytes | Fault, limits: Limits) -> Iterator[Item]:
        if isinstance(content, Fault):
            yield content
            return
        place = f"{piece.filename}@{piece.offset}"
        for item in read_records(content, piece.filename, limits, licence=self.licence):
            if isinstance(item, Page):
                meta = {**item.meta, "crawl": piece.crawl} if piece.crawl else item.meta
                yield replace(item, id=place, meta=meta)
            elif isinstance(item, Fault):
                yield replace(item, place=place)
            return  # a range holds one record


def _unit(path: str, start: int, stop: int, size: int) -> Unit:
    return Unit(f"records:{start:012d}+{stop - start}", path, start, stop, size)


def _rows(unit: Unit) -> list[Piece]:
    with pq.ParquetFile(unit.path) as file:
        rows: list[Piece] = []
        at = 0
        stop = unit.stop or 0
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            if at < stop and at + count > unit.start:
                table = file.read_row_group(group).slice(max(0, unit.start - at), None)
                first = max(at, unit.start)
                for row in table.slice(0, stop - first).to_pylist():
                    rows.append(Piece(**row))
            at += count
    return rows
