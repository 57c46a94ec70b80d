"""What is looked at: a file, one record of an archive or table, or a page of the web."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.page import Fault, Page
from nautiloid.curate.reader import Limits, Reader
from nautiloid.curate.view.fetch import fetch

READERS = {
    ".warc": "warc",
    ".wet": "warc",
    ".jsonl": "jsonl",
    ".parquet": "parquet",
    ".ipynb": "notebook",
}
HTML = frozenset({"text/html", "application/xhtml+xml"})


def load(subject: str) -> Page | Document:
    """The page or document that a person named.

    Args:
        subject: `http(s)://...`, a path, or `path#which` where `which` is a record id, a URL, the
            number of the record in the file, counted from 0, or `@` and its byte offset.

    Raises:
        InputError: Nothing is there, or it cannot be read.
    """
    if "://" in subject.partition("#")[0]:
        return fetch(subject)
    name, _, which = subject.partition("#")
    path = Path(name)
    if not path.is_file() and Path(subject).is_file():
        path, which = Path(subject), ""
    if not path.is_file():
        raise InputError(subject, None, "no such file; give a file or an http address")
    kind = next((READERS[s] for s in reversed(path.suffixes) if s in READERS), None)
    if kind is not None:
        return _record(Reader.registry.get(kind)(paths=(str(path),)), which, subject)
    if path.stat().st_size > Limits().page_bytes:
        raise InputError(subject, f"over {Limits().page_bytes:,} bytes", "view a smaller page")
    mime = mimetypes.guess_type(path.name)[0] or "text/html"
    return Page(id=path.name, content=path.read_bytes(), mime=mime)


def _record(reader: Any, which: str, subject: str) -> Page | Document:
    """The named record; the first HTML page, or else the first record, when none is named."""
    first: Page | Document | None = None
    for number, item in enumerate(_items(reader)):
        if which and _is_named(item, which, number):
            return item
        if not which:
            first = first or item
            if isinstance(item, Document) or item.mime in HTML:
                return item
    if first is None:
        raise InputError(subject, None, "no such record; number, id, URL or offset behind the #")
    return first


def _items(reader: Reader) -> Iterator[Page | Document]:
    for unit in reader.units():
        for item in reader.read(unit, Limits()):
            if not isinstance(item, Fault):
                yield item


def _is_named(item: Page | Document, which: str, number: int) -> bool:
    url = item.url if isinstance(item, Page) else item.meta.get("url")
    names = {item.id, url, item.meta.get("warc_record_id"), str(number)}
    return which.strip("<>") in names or (which.startswith("@") and item.id.endswith(which))
