"""What a deduplication is: a sketch of each document, then a decision over all sketches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from nautiloid.core.config import Open
from nautiloid.core.registry import Registry
from nautiloid.core.types import Document

# How sketches are best written: hashes repay no dictionary, texts repay compression.
PARQUET: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": False,
    "row_group_size": 1 << 16,
}
DECISIONS = pa.schema(
    [
        ("unit", pa.int32()),
        ("row", pa.int32()),
        ("reason", pa.string()),
        ("keeper_unit", pa.int32()),
        ("keeper_row", pa.int32()),
        ("similarity", pa.float32()),
        ("lines", pa.list_(pa.int32())),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Dedup(Open):
    """A stage that needs all documents. Subclasses live in `curate/dedup/<name>.py` under `@dedup("<name>")`.

    Workers call `sketch` once a unit; one process then calls `decide` with all sketches in the
    order of the units. Documents are known by unit and row. Of a group of duplicates the one with
    the highest quality stays, among equals the one with the smallest id, so that the result
    depends on the set of documents alone.
    """

    registry: ClassVar[Registry] = Registry("dedup", "nautiloid.curate.dedup")

    def sketch(self, documents: Sequence[Document]) -> pa.Table:
        """One row a document, in order; a column `quality` (float32) and `id` are always there.

        The metadata of the schema name the settings; files that hold the table keep them.
        """
        raise TypeError(f"{type(self).__name__} does not define sketch")

    def decide(self, sketches: Sequence[Path], out: Path, *, memory_bytes: int) -> None:
        """Write to `out` (Parquet) the documents that go or change, sorted by unit and row.

        Args:
            sketches: One Parquet file a unit; the position in the list is the unit's index.
            out: Columns `unit` int32, `row` int32, `reason` string (`exact_document`, `exact_url`,
                `near_duplicate`, `near_duplicate_transitive`, `repeated_line`), `keeper_unit` int32,
                `keeper_row` int32 (-1 for a document of the reference corpus), `similarity` float32
                or null, `lines` list of int32 or null. Where `lines` is not null the document stays
                and loses these lines of `text.split("\\n")` (ascending, from 0); its keeper is null.
            memory_bytes: Bound of the working memory; what exceeds it goes through files beside `out`.
        """
        raise TypeError(f"{type(self).__name__} does not define decide")


def quality(document: Document) -> float:
    """What decides which duplicate stays: `score` of the document's meta, 0 without one."""
    score = document.meta.get("score")
    return float(score) if isinstance(score, int | float) else 0.0


dedup = Dedup.registry
