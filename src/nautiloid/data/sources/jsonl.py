"""JSON lines, plain or compressed: one record a line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nautiloid.core.errors import InputError
from nautiloid.core.files import atomic_path
from nautiloid.core.types import Sample, ThinkingMode
from nautiloid.data.files import decode, find, pieces
from nautiloid.data.records import Fields, write_row
from nautiloid.data.source import Source, source

SUFFIXES = (".jsonl", ".jsonl.zst", ".jsonl.gz")


@source("jsonl")
@dataclass(frozen=True, kw_only=True)
class Jsonl(Source):
    """Text, conversations or token ids from JSON lines.

    Args:
        paths: Files, folders or globs; `.zst` and `.gz` files are decompressed as they are read.
        fields: Names of the columns.
        mode: Thinking mode of conversations whose rows name none.
        max_line_bytes: Longest accepted line; bounds memory, also against decompression bombs.
    """

    paths: tuple[str, ...]
    fields: Fields = field(default_factory=Fields)
    mode: ThinkingMode = "on"
    max_line_bytes: int = 64_000_000

    def files(self) -> Sequence[Path]:
        """The matching files."""
        return find(self.paths, SUFFIXES)

    def read(self, start: int = 0) -> Iterator[Sample]:
        """One sample for each line that is not blank; skipped lines are not decoded."""
        index = 0
        for path in self.files():
            for number, line in enumerate(pieces(path, b"\n", self.max_line_bytes), 1):
                if not line.strip():
                    continue
                index += 1
                if index > start:
                    yield self._sample(line, path, number)

    def _sample(self, line: bytes, path: Path, number: int) -> Sample:
        where = f"{path}:{number}"
        try:
            row = json.loads(decode(line, where))
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(
                where, None, f"not valid JSON ({error}); mend or remove the line"
            ) from None
        return self.fields.sample(
            row,
            id=f"{path.name}:{number}",
            source=self.kind,
            where=where,
            licence=self.licence,
            mode=self.mode,
        )


def write_jsonl(path: str | os.PathLike[str], samples: Iterable[Sample]) -> int:
    """Write samples as JSON lines, atomically; a name ending in `.zst` is compressed.

    Returns:
        The number of lines.
    """
    import zstandard

    count = 0
    with atomic_path(path) as temporary, temporary.open("wb") as raw:
        is_zst = Path(path).suffix == ".zst"
        out = zstandard.ZstdCompressor().stream_writer(raw, closefd=False) if is_zst else raw
        for sample in samples:
            line = json.dumps(write_row(sample), ensure_ascii=False)
            # lone surrogates, which JSON text may hold, are not UTF-8: keep them escaped
            if not line.isascii() and any("\ud800" <= c <= "\udfff" for c in line):
                line = json.dumps(write_row(sample))
            out.write(line.encode() + b"\n")
            count += 1
        if is_zst:
            out.close()
    return count
