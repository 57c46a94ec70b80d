"""Shards: the documents in their order, cut by size, in each format.

Which documents a shard holds follows from the sizes of the documents alone, so shards are written in
parallel and are the same bytes whoever writes them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nautiloid.core.errors import InputError
from nautiloid.core.files import atomic_path, read_json, sha256, write_json
from nautiloid.curate.finish import ROWS, final_folder
from nautiloid.curate.heartbeat import Phase
from nautiloid.curate.store import JsonlWriter, parquet_writer

if TYPE_CHECKING:
    from nautiloid.curate.jobs import Jobs
    from nautiloid.curate.recipe import CurateRecipe

Format = Literal["parquet", "jsonl", "megatron"]
ENDINGS: Mapping[str, tuple[str, ...]] = {
    "parquet": (".parquet",),
    "jsonl": (".jsonl.zst",),
    "megatron": (".bin", ".idx"),
}


@dataclass(frozen=True, kw_only=True)
class ShardConfig:
    """How documents are written.

    Args:
        formats: `parquet`, `jsonl` (compressed JSON lines) and `megatron` (token ids, `.bin` and `.idx`).
        shard_bytes: UTF-8 bytes of text a shard holds, at most one document more.
        row_group_documents: Documents of a row group of Parquet; small groups suit dataset viewers.
        row_group_bytes: Text of a row group, at most one document more.
        tokenizer: Folder of a tokenizer: counts tokens, and makes the ids of `megatron`.
    """

    formats: tuple[Format, ...] = ("parquet",)
    shard_bytes: int = 256 << 20
    row_group_documents: int = 1000
    row_group_bytes: int = 32 << 20
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        if not self.formats or len(set(self.formats)) < len(self.formats):
            raise InputError(
                "shards.formats", list(self.formats), "name each of parquet, jsonl, megatron once"
            )
        for name in ("shard_bytes", "row_group_documents", "row_group_bytes"):
            if getattr(self, name) < 1:
                raise InputError(f"shards.{name}", getattr(self, name), "use at least 1")
        if "megatron" in self.formats and self.tokenizer is None:
            raise InputError(
                "shards.tokenizer", None, "the format megatron needs a tokenizer folder"
            )


@dataclass(frozen=True)
class Shard:
    """One shard of one band in one format.

    Args:
        spans: Unit, first row, row behind the last; rows of other bands between them do not count.
    """

    format: Format
    band: int
    index: int
    total: int
    spans: tuple[tuple[int, int, int], ...]

    def stem(self, recipe: CurateRecipe) -> str:
        """Path inside `shards/` without the ending, after the habit of dataset hubs."""
        name = f"train-{self.index:05d}-of-{self.total:05d}"
        return f"{self.format}/{recipe.bands[self.band]}/{name}"

    def job(self, recipe: CurateRecipe) -> dict[str, Any]:
        """What a worker is asked."""
        return {"job": "shard", "name": self.stem(recipe), "shard": asdict(self)}


def plan_shards(folder: Path, recipe: CurateRecipe, units: int) -> list[Shard]:
    """All shards, from the sizes in the finished units."""
    cuts = [Cuts(recipe.shards.shard_bytes) for _ in recipe.bands]
    for unit in range(units):
        table = pq.read_table(
            final_folder(folder, unit) / "documents.parquet", columns=["band", "byte_count"]
        )
        bands, sizes = table["band"].to_numpy(), table["byte_count"].to_numpy()
        for band, cut in enumerate(cuts):
            rows = np.flatnonzero(bands == band)
            cut.add(unit, rows, sizes[rows])
    shards: list[Shard] = []
    for band, cut in enumerate(cuts):
        groups = cut.close()
        for name in recipe.shards.formats:
            shards += [
                Shard(name, band, index, len(groups), tuple(spans))
                for index, spans in enumerate(groups)
            ]
    return shards


class Cuts:
    """Cuts a sequence of documents where the sum of their sizes exceeds a bound."""

    def __init__(self, bound: int):
        self._bound = bound
        self._groups: list[list[tuple[int, int, int]]] = []
        self._open: list[tuple[int, int, int]] = []
        self._size = 0

    def add(self, unit: int, rows: np.ndarray[Any, Any], sizes: np.ndarray[Any, Any]) -> None:
        """Take documents of the next unit: their rows and sizes in bytes."""
        first = 0
        for position, size in enumerate(sizes.tolist()):
            self._size += size
            if self._size >= self._bound:
                self._span(unit, rows[first : position + 1])
                first = position + 1
                self._cut()
        self._span(unit, rows[first:])

    def close(self) -> list[list[tuple[int, int, int]]]:
        """The groups, each as spans of rows of units."""
        if self._open:
            self._cut()
        return self._groups

    def _span(self, unit: int, rows: np.ndarray[Any, Any]) -> None:
        if len(rows):
            self._open.append((unit, int(rows[0]), int(rows[-1]) + 1))

    def _cut(self) -> None:
        self._groups.append(self._open)
        self._open, self._size = [], 0


def shard_record(folder: Path, stem: str) -> Path:
    """Where the facts of a written shard are kept until the manifest has them."""
    return folder / "final" / "shards" / f"{stem.replace('/', '-')}.json"


def written_facts(folder: Path, stem: str) -> dict[str, Any] | None:
    """Facts of a shard that is there and whole; None where it is to be written."""
    record = shard_record(folder, stem)
    if not record.is_file():
        return None
    facts = read_json(record)
    for name, entry in facts["files"].items():
        path = folder / "shards" / name
        if not path.is_file() or sha256(path) != entry["sha256"]:
            return None
    return facts


def write_shard(jobs: Jobs, job: Mapping[str, Any]) -> dict[str, Any]:
    """Write one shard and the record of it."""
    given = job["shard"]
    shard = Shard(**{**given, "spans": tuple(tuple(span) for span in given["spans"])})
    jobs.heartbeat.enter(Phase.BULK, id=job["name"])
    stem = jobs.folder / "shards" / job["name"]
    tables = _tables(jobs.folder, shard)
    config = jobs.recipe.shards
    if shard.format == "parquet":
        documents, tokens = _write_parquet(Path(f"{stem}.parquet"), tables, config)
    elif shard.format == "jsonl":
        documents, tokens = _write_jsonl(Path(f"{stem}.jsonl.zst"), tables)
    else:
        documents, tokens = _write_megatron(stem, tables, jobs)
    files: dict[str, Any] = {}
    for ending in ENDINGS[shard.format]:
        path = Path(f"{stem}{ending}")
        files[f"{job['name']}{ending}"] = {
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
            "documents": documents,
            "tokens": tokens,
        }
    facts = {"files": files}
    write_json(shard_record(jobs.folder, job["name"]), facts)
    return facts


def _tables(folder: Path, shard: Shard) -> Iterator[pa.Table]:
    """The rows of a shard, some at a time, in order."""
    for unit, start, stop in shard.spans:
        with pq.ParquetFile(final_folder(folder, unit) / "documents.parquet") as file:
            first = 0
            for group in range(file.metadata.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                if first < stop and first + size > start:
                    table = file.read_row_group(group)
                    table = table.slice(
                        max(0, start - first), min(stop, first + size) - max(start, first)
                    )
                    is_wanted = pa.array(table["band"].to_numpy() == shard.band)
                    yield table.filter(is_wanted)
                first += size


def _write_parquet(
    path: Path, tables: Iterator[pa.Table], config: ShardConfig
) -> tuple[int, int | None]:
    documents, tokens = 0, _Sum()
    with atomic_path(path) as temporary, parquet_writer(temporary, ROWS) as writer:
        for group in _row_groups(tables, config):
            documents += group.num_rows
            tokens.add(group["token_count"])
            writer.write_table(group.select(ROWS.names), row_group_size=group.num_rows)
    return documents, tokens.value


def _row_groups(tables: Iterator[pa.Table], config: ShardConfig) -> Iterator[pa.Table]:
    """The same rows cut anew, so that the groups of the units leave no trace."""
    waiting: list[pa.Table] = []
    documents = size = 0
    for table in tables:
        first = 0
        for position, count in enumerate(table["byte_count"].to_pylist()):
            documents += 1
            size += count
            if documents >= config.row_group_documents or size >= config.row_group_bytes:
                waiting.append(table.slice(first, position + 1 - first))
                yield pa.concat_tables(waiting).combine_chunks()
                waiting, documents, size, first = [], 0, 0, position + 1
        if first < table.num_rows:
            waiting.append(table.slice(first))
    if documents:
        yield pa.concat_tables(waiting).combine_chunks()


def _write_jsonl(path: Path, tables: Iterator[pa.Table]) -> tuple[int, int | None]:
    import json

    documents, tokens = 0, _Sum()
    with atomic_path(path) as temporary, JsonlWriter(temporary) as writer:
        for table in tables:
            tokens.add(table["token_count"])
            for row in table.select(ROWS.names).to_pylist():
                documents += 1
                for name in ("media", "meta"):
                    row[name] = json.loads(row[name]) if row[name] is not None else None
                writer.write({name: value for name, value in row.items() if value is not None})
    return documents, tokens.value


def _write_megatron(stem: Path, tables: Iterator[pa.Table], jobs: Jobs) -> tuple[int, int | None]:
    from nautiloid.data.sources.megatron import write_megatron

    tokenizer = jobs.tokenizer()
    assert tokenizer is not None
    end = tokenizer.eos_ids[0]
    tokens = 0

    def ids() -> Iterator[Sequence[int]]:
        nonlocal tokens
        for table in tables:
            for text in table["text"].to_pylist():
                encoded = [*tokenizer.encode(text), end]
                tokens += len(encoded)
                yield encoded

    documents = write_megatron(os.fspath(stem), ids(), vocab_size=tokenizer.vocab_size)
    return documents, tokens


class _Sum:
    """Adds up a column that may hold nothing."""

    def __init__(self) -> None:
        self.value: int | None = None

    def add(self, column: pa.ChunkedArray) -> None:
        found = [count for count in column.to_pylist() if count is not None]
        if found:
            self.value = (self.value or 0) + sum(found)
