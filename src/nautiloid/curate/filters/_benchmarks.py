"""Items of benchmarks, from JSON Lines, Parquet and plain text."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from nautiloid.core.errors import InputError
from nautiloid.data.files import reading

JSON_ENDINGS = (".jsonl", ".ndjson", ".jsonl.gz", ".jsonl.zst", ".ndjson.gz", ".ndjson.zst")
TEXT_ENDINGS = (".txt", ".md", ".txt.gz", ".txt.zst")


@dataclass(frozen=True, slots=True)
class BenchmarkItem:
    """One task.

    Args:
        place: File and row, counted from 1.
        text: Its text fields, one a line.
    """

    place: str
    text: str


def benchmark_items(paths: Sequence[str], fields: Sequence[str]) -> Iterator[BenchmarkItem]:
    """Items of all files in order, one at a time.

    A row of JSON Lines or Parquet is an item; of plain text each paragraph is one.

    Args:
        paths: Files, or folders that hold them.
        fields: Columns that count; all with text when empty. Lists and objects count with their texts.

    Raises:
        InputError: A file is missing, unreadable, of another kind, or lacks all of `fields`.
    """
    for path in _files(paths):
        has_text = False
        try:
            for number, row in enumerate(_rows(path), 1):
                if fields and isinstance(row, dict):
                    given = cast(dict[str, Any], row)
                    row = [given[name] for name in fields if name in given]
                text = "\n".join(_texts(row))
                if text.strip():
                    has_text = True
                    yield BenchmarkItem(f"{path.name}:{number}", text)
        except (OSError, EOFError, ValueError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(str(path), None, f"the benchmark cannot be read: {error}") from None
        if not has_text:
            named = f"no text in {', '.join(fields)}" if fields else "no text"
            raise InputError(str(path), named, "name the columns of the task in `fields`")


def _files(paths: Sequence[str]) -> Iterator[Path]:
    known = (*JSON_ENDINGS, *TEXT_ENDINGS, ".parquet")
    for name in paths:
        path = Path(name)
        if path.is_dir():
            found = [p for p in sorted(path.rglob("*")) if p.name.lower().endswith(known)]
            if not found:
                raise InputError(name, None, "the folder holds no benchmark files")
            yield from found
        elif not path.is_file():
            raise InputError(name, None, "no such benchmark file")
        elif not path.name.lower().endswith(known):
            raise InputError(name, None, f"use one of {', '.join(known)}")
        else:
            yield path


def _rows(path: Path) -> Iterator[Any]:
    name = path.name.lower()
    if name.endswith(".parquet"):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1024):
                yield from cast(pa.RecordBatch, batch).to_pylist()
        return
    with reading(path) as raw, io.TextIOWrapper(raw, encoding="utf-8") as lines:
        if name.endswith(TEXT_ENDINGS):
            yield from _paragraphs(lines)
        else:
            for line in lines:
                if line.strip():
                    yield json.loads(line)


def _paragraphs(lines: IO[str]) -> Iterator[str]:
    held: list[str] = []
    for line in lines:
        if line.strip():
            held.append(line)
        elif held:
            yield "".join(held)
            held = []
    if held:
        yield "".join(held)


def _texts(value: Any) -> Iterator[str]:
    """Strings of a JSON value, in order; no recursion, so depth does not matter."""
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            stack += reversed(list(cast(dict[str, Any], item).values()))
        elif isinstance(item, list):
            stack += reversed(cast(list[Any], item))
