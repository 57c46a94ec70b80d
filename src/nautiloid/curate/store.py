"""Documents in the run folder, and folders that are done as a whole or not there."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from nautiloid.core.errors import InputError
from nautiloid.core.files import atomic_path, read_json, sha256, write_json
from nautiloid.core.types import Document, MediaPart

log = logging.getLogger("nautiloid.curate")

DONE = "done.json"
BATCH_DOCUMENTS = 1000
BATCH_CHARS = 32_000_000
COMPRESSION_LEVEL = 3

DOCUMENTS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("licence", pa.string()),
        pa.field("media", pa.string()),
        pa.field("meta", pa.string(), nullable=False),
    ]
)


@contextlib.contextmanager
def result_folder(
    folder: Path, facts: Callable[[], Mapping[str, Any]]
) -> Generator[Path, None, None]:
    """Yield a folder to fill; it appears at `folder` whole, with checksums and `facts`, or not at all."""
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        yield temporary
        files = {
            item.name: {"bytes": item.stat().st_size, "sha256": sha256(item)}
            for item in sorted(temporary.iterdir())
        }
        write_json(temporary / DONE, {**facts(), "files": files})


def result_facts(folder: Path) -> dict[str, Any] | None:
    """What `result_folder` recorded; None when there is no whole folder, and a damaged one is removed."""
    if not folder.is_dir():
        return None
    try:
        facts = cast(dict[str, Any], read_json(folder / DONE))
        for name, entry in facts["files"].items():
            item = folder / name
            if item.stat().st_size != entry["bytes"] or sha256(item) != entry["sha256"]:
                raise InputError(str(item), "damaged", "it is made again")
    except (InputError, OSError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s", error)
        shutil.rmtree(folder)
        return None
    return facts


def remove_torn(folder: Path) -> None:
    """Remove what killed processes left half-written in `folder`."""
    if not folder.is_dir():
        return
    for item in folder.iterdir():
        if item.name.startswith(".") and item.name.endswith((".tmp", ".old")):
            shutil.rmtree(item) if item.is_dir() else item.unlink()


class BatchWriter:
    """Collects documents and hands them on in batches of bounded size."""

    def __init__(self, write: Callable[[list[Document]], None]):
        self.write = write
        self._batch: list[Document] = []
        self._chars = 0

    def add(self, document: Document) -> None:
        """Take one document."""
        self._batch.append(document)
        self._chars += len(document.text)
        if len(self._batch) >= BATCH_DOCUMENTS or self._chars >= BATCH_CHARS:
            self.flush()

    def flush(self) -> None:
        """Hand on what is left."""
        if self._batch:
            batch, self._batch, self._chars = self._batch, [], 0
            self.write(batch)


def documents_table(documents: list[Document]) -> pa.Table:
    """Documents as rows of `DOCUMENTS`."""
    return pa.table(
        {
            "id": [d.id for d in documents],
            "text": [d.text for d in documents],
            "licence": [d.licence for d in documents],
            "media": [
                compact([[m.kind, m.ref] for m in d.media]) if d.media else None for d in documents
            ],
            "meta": [compact(d.meta) for d in documents],
        },
        schema=DOCUMENTS,
    )


def read_documents(path: Path) -> Iterator[Document]:
    """The documents of a file that was written from `documents_table`, in order."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=64):
            for row in batch.to_pylist():
                media = tuple(
                    MediaPart(kind, ref) for kind, ref in json.loads(row["media"] or "[]")
                )
                yield Document(
                    row["id"], row["text"], media, row["licence"], json.loads(row["meta"])
                )


def compact(value: Any) -> str:
    """JSON on one line, keys sorted, so that equal values have equal bytes."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates stay escaped
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    return text


@contextlib.contextmanager
def parquet_writer(path: Path, schema: pa.Schema) -> Generator[pq.ParquetWriter, None, None]:
    """A writer with the settings of all our files: nothing in them depends on the machine."""
    with pq.ParquetWriter(
        path,
        schema,
        version="2.6",
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        write_page_index=True,
        store_schema=True,
    ) as writer:
        yield writer


class JsonlWriter:
    """Compressed JSON lines, one record at a time."""

    def __init__(self, path: Path):
        import zstandard

        self._raw = path.open("wb")
        self._out = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL).stream_writer(
            self._raw, closefd=False
        )

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a line."""
        self._out.write(compact(record).encode() + b"\n")

    def close(self) -> None:
        """End the stream."""
        self._out.close()
        self._raw.close()

    def __enter__(self) -> JsonlWriter:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()
