"""Records a second of web archive readers: ours, fastwarc bare, warcio; and of character sets.

python benchmarks/curate_rows/readers.py a.warc.gz
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nautiloid.curate.charset import decode
from nautiloid.curate.page import Page
from nautiloid.curate.reader import Limits
from nautiloid.curate.readers.warc import Warc
from nautiloid.curate.warc.data import opened
from nautiloid.curate.warc.members import archive_codec
from nautiloid.curate.warc.records import Record, records


@dataclass(frozen=True)
class Rate:
    """Processor time of one way to read an archive.

    Args:
        name: The reader.
        records: Responses it gave.
        per_s: Of them a second.
        raw_mb_per_s: Megabytes of payload a second.
    """

    name: str
    records: int
    per_s: float
    raw_mb_per_s: float


def ours(path: Path) -> list[int]:
    """Sizes of the pages that the reader gives, HTTP headers parsed, types told."""
    reader = Warc(paths=(str(path),))
    items = (item for unit in reader.units() for item in reader.read(unit, Limits()))
    return [len(item.content) for item in items if isinstance(item, Page)]


def careful(path: Path) -> list[int]:
    """Sizes of the records that the way for damaged stretches gives."""
    with opened(str(path)) as data:
        found = records(archive_codec(data), start=0, stop=None, record_bytes=1 << 25, label="")
        responses = (r for r in found if isinstance(r, Record))
        return [len(r.block) for r in responses if r.headers["warc-type"] == "response"]


def fastwarc(path: Path) -> list[int]:
    """The same by fastwarc, HTTP headers parsed."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    kinds = WarcRecordType.response
    return [len(r.reader.read()) for r in ArchiveIterator(str(path), record_types=kinds)]


def warcio(path: Path) -> list[int]:
    """The same by warcio."""
    from warcio.archiveiterator import ArchiveIterator

    with path.open("rb") as file:
        found = (r for r in ArchiveIterator(file) if r.rec_type == "response")
        return [len(r.content_stream().read()) for r in found]


def rates(path: Path, reps: int = 3) -> list[Rate]:
    """The best of some rounds, alternating; readers that are not installed are left out."""
    ways: list[Callable[[Path], list[int]]] = [ours, careful, fastwarc, warcio]
    best: dict[str, tuple[float, list[int]]] = {}
    for _ in range(reps):
        for way in ways:
            began = time.process_time()
            try:
                sizes = way(path)
            except ImportError:
                continue
            took_s = time.process_time() - began
            if way.__name__ not in best or took_s < best[way.__name__][0]:
                best[way.__name__] = took_s, sizes
    return [
        Rate(name, len(sizes), len(sizes) / took_s, sum(sizes) / took_s / 1e6)
        for name, (took_s, sizes) in best.items()
    ]


def decode_s(content: bytes, reps: int = 200) -> float:
    """Seconds to decode a page."""
    began = time.process_time()
    for _ in range(reps):
        decode(content)
    return (time.process_time() - began) / reps


def main() -> None:
    """Print the table of an archive, and the time of a page in UTF-8 and in windows-1252."""
    for rate in rates(Path(sys.argv[1])):
        size = f"{rate.raw_mb_per_s:8.0f} MB/s {rate.records:8d} records"
        print(f"{rate.name:10s} {rate.per_s:8.0f} records/s {size}")
    text = "<p>Poincar\u00e9 proved a theorem about the field of rational numbers.\n" * 300
    for name in ("utf-8", "cp1252"):
        content = text.encode(name)
        print(f"decode {name:8s} {len(content)} bytes {decode_s(content) * 1e6:8.0f} us")


if __name__ == "__main__":
    main()
