"""JSON Lines, plain or compressed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nautiloid.curate.page import Fault
from nautiloid.curate.reader import Item, Limits, Reader, Unit, reader
from nautiloid.curate.readers._files import Entry, file_name, fresh_listing, split
from nautiloid.curate.readers._lines import Line, lines
from nautiloid.curate.readers._rows import Columns

SUFFIXES = tuple(
    f"{end}{packed}" for end in (".jsonl", ".ndjson") for packed in ("", ".gz", ".zst")
)


@reader("jsonl")
@dataclass(frozen=True, kw_only=True)
class Jsonl(Reader):
    """Documents or pages of lines that each hold one JSON object.

    Args:
        columns: Where a row keeps what.
        skip: Endings of files that are left out, also when they are named.
    """

    columns: Columns = field(default_factory=Columns)

    skip: tuple[str, ...] = ()

    def units(self) -> Sequence[Unit]:
        """Files, or ranges of bytes of large plain ones."""
        entries = fresh_listing(self.paths, SUFFIXES, self.skip)
        for entry in entries:
            row = _first_row(entry)
            if isinstance(row, dict):
                self.columns.check(list(row), f"{entry.name}:1")
        return split(entries, lambda entry: not entry.path.lower().endswith((".gz", ".zst")))

    def read(self, unit: Unit, limits: Limits) -> Iterator[Item]:
        """Rows in the order of the file."""
        name = file_name(unit)
        for line in lines(unit.path, name, limits, start=unit.start, stop=unit.stop):
            given = line if isinstance(line, Fault) else self._item(line, name, limits)
            if given is not None:
                yield given

    def _item(self, line: Line, name: str, limits: Limits) -> Item | None:
        if line.content is None:
            return Fault(f"{name}:{line.row()}", "line_too_long", f"over {limits.line_chars} bytes")
        if not line.content.strip():
            return None
        try:
            row: Any = json.loads(line.content)
        except (ValueError, RecursionError) as error:
            return Fault(f"{name}:{line.row()}", "bad_json", str(error)[:200])
        given = self.columns.item(
            row, name=f"{name}@{line.offset}", licence=self.licence, limits=limits
        )
        if isinstance(given, Fault):
            return replace(given, place=f"{name}:{line.row()}")
        return given


def _first_row(entry: Entry) -> Any:
    """The first row, to refuse wrong column names before any work; None where it cannot be read."""
    for line in lines(entry.path, entry.name, Limits()):
        if isinstance(line, Fault) or line.content is None:
            return None
        if line.content.strip():
            try:
                return json.loads(line.content)
            except (ValueError, RecursionError):
                return None
    return None
