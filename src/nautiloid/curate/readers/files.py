"""Whatever a folder holds, each file by the reader of its kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nautiloid.core.errors import InputError
from nautiloid.curate.reader import Item, Limits, Reader, Unit, reader
from nautiloid.curate.readers import html, jsonl, notebook, parquet, warc
from nautiloid.curate.readers._files import fresh_listing
from nautiloid.curate.readers._rows import Columns

SUFFIXES = {
    "html": html.SUFFIXES,
    "jsonl": jsonl.SUFFIXES,
    "notebook": notebook.SUFFIXES,
    "parquet": parquet.SUFFIXES,
    "warc": warc.SUFFIXES,
}


@reader("files")
@dataclass(frozen=True, kw_only=True)
class Files(Reader):
    """Web archives, HTML, JSON Lines, Parquet and notebooks of folders, told by their endings.

    Args:
        columns: Where rows of JSON Lines and Parquet keep what.
        licences: File of licences by name, as for the reader `html`.
        base_url: Put before the names of HTML files.
    """

    columns: Columns = field(default_factory=Columns)
    licences: str | None = None
    base_url: str | None = None

    def units(self) -> Sequence[Unit]:
        """Units of all kinds, sorted by kind and name; names start with the kind."""
        every = tuple(ending for endings in SUFFIXES.values() for ending in endings)
        entries = fresh_listing(self.paths, every)
        for entry in entries:
            if not entry.path.lower().endswith(every):
                remedy = f"use names ending in {', '.join(every)}"
                raise InputError(entry.path, "is of no known kind", remedy)
        units: list[Unit] = []
        for kind, endings in SUFFIXES.items():
            if any(entry.path.lower().endswith(endings) for entry in entries):
                found = self._reader(kind).units()
                units.extend(replace(unit, name=f"{kind}:{unit.name}") for unit in found)
        return units

    def read(self, unit: Unit, limits: Limits) -> Iterator[Item]:
        """Items as the reader of that kind gives them."""
        kind, _, name = unit.name.partition(":")
        return self._reader(kind).read(replace(unit, name=name), limits)

    def _reader(self, kind: str) -> Reader:
        skip = tuple(e for other, ends in SUFFIXES.items() if other != kind for e in ends)
        common: Any = {"paths": self.paths, "licence": self.licence, "skip": skip}
        if kind == "html":
            return html.Html(licences=self.licences, base_url=self.base_url, **common)
        if kind in ("jsonl", "parquet"):
            cls = jsonl.Jsonl if kind == "jsonl" else parquet.Parquet
            return cls(columns=self.columns, **common)
        return notebook.Notebook(**common) if kind == "notebook" else warc.Warc(**common)
