"""Equal documents, equal addresses, and lines that many documents repeat."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nautiloid.core.errors import InputError
from nautiloid.core.files import atomic_path
from nautiloid.core.types import Document
from nautiloid.curate.dedup import _forest
from nautiloid.curate.dedup._address import canonical
from nautiloid.curate.dedup._candidates import copies
from nautiloid.curate.dedup._corpus import SETTINGS, Corpus
from nautiloid.curate.dedup._lines import line_hashes, repeated
from nautiloid.curate.dedup._shingles import fold
from nautiloid.curate.dedup._spool import Spool, workspace
from nautiloid.curate.dedup.dedup import DECISIONS, Dedup, dedup, quality

ROWS = 1 << 16


@dedup("exact")
@dataclass(frozen=True, kw_only=True)
class Exact(Dedup):
    """Documents of equal text, then of equal address, then lines that too many of the rest share.

    Memory of `decide` is 24 bytes a document and `memory_bytes` for everything else.

    Args:
        text: What must be equal: the text `as_is`, the text apart from white space (`spaces`), or
            its letters and digits in lower case (`words`). None compares no texts.
        url: Documents of the same `url` in their meta, written canonically (no scheme, `www.`,
            fragment, session or campaign parameters), are equal; those without one never are.
        line_documents: Lines that occur in more documents than this are removed from all of them but
            the one that ranks first. None leaves lines alone.
        line_chars: Shorter lines are left alone. So are lines of fenced code and of display formulas.
        reference: Folders with sketches of former runs; their documents never go or change.
    """

    text: Literal["as_is", "spaces", "words"] | None = "spaces"
    url: bool = False
    line_documents: int | None = None
    line_chars: int = 20
    reference: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.text is None and not self.url and self.line_documents is None:
            raise InputError("dedup.text", None, "compare texts, addresses or lines")
        if self.line_documents is not None and self.line_documents < 1:
            raise InputError("dedup.line_documents", self.line_documents, "use a number from 1")
        if self.line_chars < 1:
            raise InputError("dedup.line_chars", self.line_chars, "use a number from 1")

    def sketch(self, documents: Sequence[Document]) -> pa.Table:
        """128-bit hashes of texts and addresses, 64-bit ones of lines; 0 where nothing is compared."""
        columns: dict[str, Any] = {
            "id": pa.array([d.id for d in documents], pa.string()),
            "quality": pa.array([quality(d) for d in documents], pa.float32()),
        }
        if self.text is not None:
            _put(columns, "text", [_digest(self._normal(d.text)) for d in documents])
        if self.url:
            _put(columns, "url", [_url_digest(d.meta.get("url")) for d in documents])
        if self.line_documents is not None:
            lines = [line_hashes(d.text, self.line_chars) for d in documents]
            columns["lines"] = pa.array(lines, pa.list_(pa.uint64()))
        return pa.table(columns).replace_schema_metadata({SETTINGS: self._settings()})

    def decide(self, sketches: Sequence[Path], out: Path, *, memory_bytes: int) -> None:
        """Texts first; addresses among what they leave; lines among what is left then."""
        corpus = Corpus.open(sketches, self.reference, self._settings())
        with workspace(out) as work:
            keeper = _forest.forest(corpus.count)
            itself = np.arange(corpus.count, dtype=keeper.dtype)
            if self.text is not None:
                self._keep_one(corpus, "text", keeper, itself, work / "text", memory_bytes)
            is_text = keeper != itself
            if self.url:
                self._keep_one(corpus, "url", keeper, itself, work / "url", memory_bytes)
            edits = None
            if self.line_documents is not None:
                left = keeper == itself
                edits = repeated(corpus, left, self.line_documents, work / "lines", memory_bytes)
            self._write(corpus, keeper, is_text, edits, out)

    def _normal(self, text: str) -> str:
        if self.text == "as_is":
            return text
        if self.text == "spaces":
            return " ".join(text.split())
        return " ".join("".join(c if c.isalnum() else " " for c in fold(text)).split())

    def _settings(self) -> bytes:
        lines = f"lines from {self.line_chars}" if self.line_documents is not None else "no lines"
        url = "addresses" if self.url else "no addresses"
        return f"exact version 1, text {self.text}, {url}, {lines}".encode()

    def _keep_one(
        self,
        corpus: Corpus,
        name: str,
        keeper: NDArray[Any],
        itself: NDArray[Any],
        folder: Path,
        memory_bytes: int,
    ) -> None:
        """Point every document that is left at the one of least rank among its equals."""
        parent = itself.copy()
        columns = (f"{name}_0", f"{name}_1")
        left = keeper == itself
        copies(corpus, parent, folder, memory_bytes, columns, left)
        members = np.zeros(corpus.count, bool)
        _forest.grouped(parent, members)
        rank = np.zeros_like(parent)
        corpus.rank(members, rank, memory_bytes)
        best = np.empty_like(parent)
        _forest.keepers(parent, rank, best)
        keeper[members] = best[parent[members]]

    def _write(
        self,
        corpus: Corpus,
        keeper: NDArray[Any],
        is_text: NDArray[np.bool_],
        edits: Spool | None,
        out: Path,
    ) -> None:
        with atomic_path(out) as temporary, pq.ParquetWriter(temporary, DECISIONS) as writer:
            for start, stop in _ranges(corpus.new, edits.parts if edits else None):
                here = np.arange(start, stop)
                gone = here[keeper[start:stop] != here]
                changed, lines = _edited(edits, start, stop, corpus.new)
                documents = np.concatenate([gone, changed])
                unit, row = corpus.place(documents)
                unit_kept, row_kept = corpus.place(keeper[gone])
                none = np.arange(len(documents)) >= len(gone)
                fill = np.zeros(len(changed), np.int32)
                table = pa.table(
                    {
                        "unit": unit,
                        "row": row,
                        "reason": np.concatenate(
                            [
                                np.where(is_text[gone], "exact_document", "exact_url"),
                                np.full(len(changed), "repeated_line"),
                            ]
                        ),
                        "keeper_unit": pa.array(np.r_[unit_kept, fill], mask=none),
                        "keeper_row": pa.array(np.r_[row_kept, fill], mask=none),
                        "similarity": pa.nulls(len(documents), pa.float32()),
                        "lines": pa.array([None] * len(gone) + lines, pa.list_(pa.int32())),
                    },
                    DECISIONS,
                )
                writer.write_table(table.take(pa.array(np.argsort(documents))))


def _ranges(count: int, parts: int | None) -> Iterator[tuple[int, int]]:
    """Ranges of documents: the partitions of `repeated` where there is one."""
    size = -(-count // parts) if parts else ROWS
    for start in range(0, count, max(1, size)):
        yield start, min(count, start + size)


def _edited(
    edits: Spool | None, start: int, stop: int, count: int
) -> tuple[NDArray[np.int64], list[list[int] | None]]:
    """Documents of a range that lose lines, and which."""
    if edits is None or start >= stop:
        return np.empty(0, np.int64), []
    rows = edits.read(start // -(-count // edits.parts)).astype(np.int64)
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    documents, firsts = np.unique(rows[:, 0], return_index=True)
    return documents, [part.tolist() for part in np.split(rows[:, 1], firsts[1:])][: len(documents)]


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _url_digest(url: object) -> bytes:
    return _digest(canonical(url)) if isinstance(url, str) and url else bytes(16)


def _put(columns: dict[str, Any], name: str, digests: list[bytes]) -> None:
    halves = np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)
    columns[f"{name}_0"] = pa.array(halves[:, 0])
    columns[f"{name}_1"] = pa.array(halves[:, 1])
