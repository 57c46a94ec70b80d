"""The join of a list of addresses with the columnar index, streamed and kept in a file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from nautiloid.core.errors import InputError
from nautiloid.core.files import atomic_path
from nautiloid.curate.page import Fault
from nautiloid.curate.reader import Limits
from nautiloid.curate.readers._files import Entry, fresh_listing
from nautiloid.curate.readers._lines import lines

pc: Any = pyarrow.compute  # its functions are made at import, no type checker sees them

VERSION = 1
BATCH_ROWS = 1 << 16
GROUP_ROWS = 1 << 13
EXAMPLES = 1000
NEEDED = ("url", "warc_filename", "warc_record_offset", "warc_record_length")
STATUS = ("fetch_status", "http_status")
MIME = ("content_mime_detected", "content_mime_type")
TIME = ("fetch_time",)
SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("filename", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("crawl", pa.string()),
        ("time", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Joined:
    """Where the join is.

    Args:
        path: Parquet of `SCHEMA`, sorted by file and offset.
        missing: Addresses that the index does not have.
    """

    path: str
    missing: int


def joined(
    *,
    urls: tuple[str, ...],
    index: tuple[str, ...],
    column: str,
    newest: bool,
    mimes: tuple[str, ...],
    folder: str,
) -> Joined:
    """The join of these files with these settings, made where it is not there yet.

    Raises:
        InputError: A file is missing, cannot be read, or lacks a column.
    """
    lists = fresh_listing(urls, (".parquet", ".txt", ".txt.gz", ".txt.zst"))
    if not index:
        raise InputError("reader.index", None, "name the Parquet files of the index")
    parts = fresh_listing(index, (".parquet",))
    facts = [VERSION, column, newest, mimes, [_stamp(e) for e in lists], [_stamp(e) for e in parts]]
    digest = blake2b(json.dumps(facts).encode(), digest_size=8).hexdigest()
    path = os.path.join(folder, f"join-{digest}.parquet")
    if not os.path.exists(path):
        wanted = _addresses(lists, column)
        tables = [_matches(entry, wanted, mimes) for entry in parts]
        table = pa.concat_tables(tables)
        found = pc.unique(table["url"])
        lacking = wanted.filter(pc.invert(pc.is_in(wanted, value_set=found)))
        examples = json.dumps([len(lacking), lacking[:EXAMPLES].to_pylist()])
        if newest:
            table = _newest(table)
        table = table.sort_by([("filename", "ascending"), ("offset", "ascending")])
        table = table.replace_schema_metadata({"missing": examples})
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary, row_group_size=GROUP_ROWS)
    return Joined(path, missing(path)[0])


def missing(path: str) -> tuple[int, str]:
    """How many addresses the index lacks, and one of them."""
    metadata = pq.read_schema(path).metadata or {}
    count, examples = json.loads(metadata[b"missing"])
    return count, examples[0] if examples else ""


def _stamp(entry: Entry) -> list[Any]:
    return [entry.name, entry.size_bytes, os.stat(entry.path).st_mtime_ns]


def _addresses(lists: tuple[Entry, ...], column: str) -> pa.Array:
    chunks: list[pa.Array] = []
    for entry in lists:
        chunks.extend(_parquet_urls(entry, column) if _is_parquet(entry) else _text_urls(entry))
    chunked = pa.chunked_array(chunks, pa.string())
    return pc.unique(chunked.drop_null())


def _is_parquet(entry: Entry) -> bool:
    return entry.path.lower().endswith(".parquet")


def _parquet_urls(entry: Entry, column: str) -> Iterator[pa.Array]:
    try:
        with pq.ParquetFile(entry.path) as file:
            names = file.schema_arrow.names
            if column not in names:
                remedy = f"has no {column!r}: name the column of addresses in reader.url_column"
                raise InputError(entry.path, f"columns {', '.join(names)}", remedy)
            for batch in file.iter_batches(BATCH_ROWS, columns=[column]):
                yield batch.column(0).cast(pa.string())
    except (pa.ArrowException, OSError) as error:
        raise InputError(entry.path, str(error)[:200], "restore or remove the file") from None


def _text_urls(entry: Entry) -> Iterator[pa.Array]:
    rows: list[str] = []
    for line in lines(entry.path, entry.name, Limits(line_chars=1 << 16)):
        if isinstance(line, Fault):
            raise InputError(line.place, f"{line.reason} {line.detail}", "restore the file")
        text = (line.content or b"").strip().decode("utf-8", "replace")
        if text and not text.startswith("#"):
            rows.append(text)
        if len(rows) >= BATCH_ROWS:
            yield pa.array(rows, pa.string())
            rows = []
    yield pa.array(rows, pa.string())


def _matches(entry: Entry, wanted: pa.Array, mimes: tuple[str, ...]) -> pa.Table:
    """Rows of one index file that are wanted; the file is read in batches."""
    try:
        dataset = ds.dataset(entry.path, format="parquet")
        names = dataset.schema.names
        lacking = [name for name in NEEDED if name not in names]
        if lacking:
            remedy = "use the columnar index of Common Crawl"
            raise InputError(entry.path, f"lacks columns {', '.join(lacking)}", remedy)
        status, mime, time = (_first(group, names) for group in (STATUS, MIME, TIME))
        condition = ds.field("url").isin(wanted)
        if status:
            condition &= ds.field(status) == 200
        if mime and mimes:
            condition &= ds.field(mime).is_null() | ds.field(mime).isin(list(mimes))
        columns = [*NEEDED, *([time] if time else [])]
        table = dataset.scanner(columns=columns, filter=condition, batch_size=BATCH_ROWS).to_table()
    except (pa.ArrowException, OSError) as error:
        raise InputError(entry.path, str(error)[:200], "restore or remove the file") from None
    crawl = re.search(r"crawl=([^/]+)/", entry.path)
    rows = table.num_rows
    times = table[time].cast(pa.string()) if time else pa.nulls(rows, pa.string())
    columns = [
        table["url"].cast(pa.string()),
        table["warc_filename"].cast(pa.string()),
        table["warc_record_offset"].cast(pa.int64()),
        table["warc_record_length"].cast(pa.int64()),
        pa.array([crawl[1] if crawl else None] * rows, pa.string()),
        times,
    ]
    return pa.table(columns, schema=SCHEMA)


def _first(group: tuple[str, ...], names: list[str]) -> str | None:
    return next((name for name in group if name in names), None)


def _newest(table: pa.Table) -> pa.Table:
    """One row an address: the last by time, then by crawl, then by place."""
    keys = ("time", "crawl", "filename", "offset")
    table = table.sort_by([("url", "ascending"), *((key, "descending") for key in keys)])
    table = table.combine_chunks()
    if table.num_rows < 2:
        return table
    url = table["url"]
    is_other = pc.not_equal(url.slice(1), url.slice(0, table.num_rows - 1))
    first = pa.concat_arrays([pa.array([True]), *is_other.chunks])
    return table.filter(first)
