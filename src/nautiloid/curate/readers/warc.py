"""Web archives: WARC and WET, gzip or zstd or plain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nautiloid.curate.page import Fault
from nautiloid.curate.reader import Item, Limits, Reader, Unit, reader
from nautiloid.curate.readers._files import Entry, file_name, fresh_listing, split
from nautiloid.curate.readers._records import BLOCK_SLACK_BYTES, item
from nautiloid.curate.warc.data import Data, opened
from nautiloid.curate.warc.fast import fast_records
from nautiloid.curate.warc.members import Codec, Gzip, archive_codec
from nautiloid.curate.warc.records import Record, records

SUFFIXES = tuple(f".{kind}{packed}" for kind in ("warc", "wet") for packed in ("", ".gz", ".zst"))


@reader("warc")
@dataclass(frozen=True, kw_only=True)
class Warc(Reader):
    """Pages of the response records and texts of the conversion records (WET) of web archives.

    Damage costs the damaged records only: reading goes on at the next record, and what was lost is
    counted. Records of other types, responses other than 2xx and types other than HTML, XHTML,
    plain text and notebooks are passed over.

    Args:
        skip: Endings of files that are left out, also when they are named.
    """

    skip: tuple[str, ...] = ()

    def units(self) -> Sequence[Unit]:
        """Files, or ranges of bytes of large ones."""
        return split(fresh_listing(self.paths, SUFFIXES, self.skip), _can_split)

    def read(self, unit: Unit, limits: Limits) -> Iterator[Item]:
        """Pages in the order of the file."""
        name = file_name(unit)
        try:
            with opened(unit.path) as data:
                if not data:
                    yield Fault(name, "empty", "the file has no bytes", 0)
                    return
                yield from read_records(
                    data, name, limits, start=unit.start, stop=unit.stop, licence=self.licence
                )
        except OSError as error:
            yield Fault(name, "unreadable", error.strerror or str(error), None)


def read_records(
    data: Data,
    name: str,
    limits: Limits,
    *,
    start: int = 0,
    stop: int | None = None,
    licence: str | None = None,
) -> Iterator[Item]:
    """Items of the records of an archive that start in a range."""
    for record in _records(archive_codec(data), name, limits, start, stop):
        given = record if isinstance(record, Fault) else item(record, name, limits, licence)
        if given is not None:
            yield given


def _records(
    found: Codec, name: str, limits: Limits, start: int, stop: int | None
) -> Iterator[Record | Fault]:
    record_bytes = limits.page_bytes + BLOCK_SLACK_BYTES
    if isinstance(found, Gzip):
        first = start if found.is_start(start) else None
        if start:
            first = found.next_start(start)
            if first is None or (stop is not None and first >= stop):
                return
        if first is not None:
            resume = yield from fast_records(
                found, start=first, stop=stop, record_bytes=record_bytes
            )
            if resume is None:
                return
            start = resume
    yield from records(found, start=start, stop=stop, record_bytes=record_bytes, label=name)


def _can_split(entry: Entry) -> bool:
    """Whether a second record can be reached without decompressing what is before it."""
    try:
        with opened(entry.path) as data:
            return archive_codec(data).next_start(1) is not None
    except OSError:
        return False
