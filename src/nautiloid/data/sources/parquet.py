"""Parquet tables: one record a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nautiloid.core.types import Sample, ThinkingMode
from nautiloid.data.files import find
from nautiloid.data.records import Fields
from nautiloid.data.source import Source, source
from nautiloid.data.tables import count_parquet, parquet_rows, read_from


@source("parquet")
@dataclass(frozen=True, kw_only=True)
class Parquet(Source):
    """Text, conversations or token ids from Parquet files.

    Args:
        paths: Files, folders or globs.
        fields: Names of the columns; others are not read.
        mode: Thinking mode of conversations whose rows name none.
    """

    paths: tuple[str, ...]
    fields: Fields = field(default_factory=Fields)
    mode: ThinkingMode = "on"

    def files(self) -> Sequence[Path]:
        """The matching files."""
        return find(self.paths, (".parquet",))

    def read(self, start: int = 0) -> Iterator[Sample]:
        """One sample a row; row groups before `start` are not read."""
        columns = self.fields.columns()
        rows = read_from(
            self.files(), lambda path, at: parquet_rows(path, columns, at), count_parquet, start
        )
        for path, number, row in rows:
            yield self.fields.sample(
                row,
                id=f"{path.name}:{number}",
                source=self.kind,
                where=f"{path}: row {number}",
                licence=self.licence,
                mode=self.mode,
            )
