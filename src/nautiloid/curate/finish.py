"""A unit after deduplication: what is left, the last stages, token counts, rows of the shards.

The result is the folder `final/<index>/`: `documents.parquet` with the columns of the shards and the
band of each document, `dropped.jsonl.zst`, `samples.json`, `done.json`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from nautiloid.core.files import write_json
from nautiloid.core.types import Document
from nautiloid.curate.decide import drops_of_unit
from nautiloid.curate.flow import Flow, Tally, valid
from nautiloid.curate.heartbeat import Phase
from nautiloid.curate.page import Page
from nautiloid.curate.reservoir import KEPT, Samples, sample_of
from nautiloid.curate.stage import Dropped
from nautiloid.curate.store import (
    BatchWriter,
    compact,
    parquet_writer,
    read_documents,
    result_folder,
)
from nautiloid.curate.unit_work import Rejects, peak_bytes, unit_folder

if TYPE_CHECKING:
    from nautiloid.curate.jobs import Jobs
    from nautiloid.curate.recipe import CurateRecipe
    from nautiloid.data.tokenizer import Tokenizer

# Columns that come from `Document.meta`; what else is there goes into the column `meta` as JSON.
FROM_META = {
    "url": pa.string(),
    "title": pa.string(),
    "language": pa.string(),
    "date": pa.string(),
    "mime": pa.string(),
    "charset": pa.string(),
    "warc_filename": pa.string(),
    "warc_record_id": pa.string(),
    "score": pa.float32(),
    "int_score": pa.int8(),
    "formula_count": pa.int32(),
}
ROWS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        *(pa.field(name, kind) for name, kind in FROM_META.items()),
        pa.field("license", pa.string()),
        pa.field("char_count", pa.int64(), nullable=False),
        pa.field("token_count", pa.int64()),
        pa.field("media", pa.string()),
        pa.field("meta", pa.string(), nullable=False),
    ]
)
FINAL = ROWS.append(pa.field("band", pa.int8(), nullable=False)).append(
    pa.field("byte_count", pa.int64(), nullable=False)
)


def final_folder(folder: Path, index: int) -> Path:
    """Where the result goes."""
    return folder / "final" / f"{index:06d}"


def finish_unit(jobs: Jobs, job: Mapping[str, Any]) -> dict[str, Any]:
    """Finish the unit `index`; `skips` and `alone` as for the job `unit`, by row."""
    work = _Finish(jobs, job)
    with result_folder(final_folder(jobs.folder, job["index"]), work.facts) as folder:
        work.run(folder)
    return work.facts()


@dataclass
class _BandCounts:
    documents: int = 0
    chars: int = 0
    bytes: int = 0
    tokens: int = 0


class _Finish:
    def __init__(self, jobs: Jobs, job: Mapping[str, Any]):
        self.jobs = jobs
        self.recipe = jobs.recipe
        self.heartbeat = jobs.heartbeat
        self.index: int = job["index"]
        self.skips: Mapping[str, Any] = job["skips"]
        self.alone = frozenset(job["alone"])
        self.dedups = [Tally(name, "dedup") for name in self.recipe.names("dedup")]
        self.steps = jobs.steps("finish")
        self.tokenizer = jobs.tokenizer()
        self.bands = [_BandCounts() for _ in self.recipe.bands]
        self.licences: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.seconds = 0.0

    def facts(self) -> dict[str, Any]:
        return {
            "stages": [tally.facts() for tally in (*self.dedups, *(s.tally for s in self.steps))],
            "documents": sum(band.documents for band in self.bands),
            "bands": [vars(band) for band in self.bands],
            "licences": dict(sorted(self.licences.items())),
            "languages": dict(sorted(self.languages.items())),
            "notes": dict(sorted(self.notes.items())),
            "seconds": self.seconds,
            "peak_bytes": peak_bytes(),
        }

    def run(self, folder: Path) -> None:
        began = time.perf_counter()
        drops = [
            drops_of_unit(self.jobs.folder, number, self.index)
            for number in range(len(self.dedups))
        ]
        samples = Samples()
        rejects = Rejects(folder / "dropped.jsonl.zst", self.recipe, samples)
        with ExitStack() as stack:
            stack.callback(rejects.close)
            writer = stack.enter_context(parquet_writer(folder / "documents.parquet", FINAL))
            batches = BatchWriter(lambda batch: writer.write_table(self._table(batch)))

            def sink(ordinal: int, document: Document) -> None:
                self.heartbeat.count(kept=1)
                if samples.wants(KEPT, "", document.id):
                    samples.add(sample_of(document, KEPT))
                batches.add(document)

            def reject(ordinal: int, stage: str, dropped: Dropped, item: Page | Document) -> None:
                self.heartbeat.count(dropped=1)
                rejects.add(ordinal, stage, dropped, item)

            flow = self.jobs.flow(Flow(self.steps, self.heartbeat, sink, reject, self.alone))
            source = unit_folder(self.jobs.folder, self.index) / "documents.parquet"
            for row, document in enumerate(read_documents(source)):
                self.heartbeat.count(items=1)
                document = self._deduplicated(row, document, drops, rejects)
                if document is None:
                    continue
                skip = self.skips.get(str(row))
                if skip is None:
                    flow.feed(row, document)
                else:
                    flow.skip(skip["step"], 0, skip["reason"])
                    stage = self.steps[skip["step"]].tally.name
                    rejects.add(row, stage, Dropped(skip["reason"], skip["detail"]), document)
            flow.finish()
            self.heartbeat.enter(Phase.BULK, id=f"unit {self.index}")
            batches.flush()
        write_json(folder / "samples.json", samples.records())
        self.seconds = time.perf_counter() - began

    def _deduplicated(
        self, row: int, document: Document, drops: list[dict[int, dict[str, Any]]], rejects: Rejects
    ) -> Document | None:
        """The document, without lines that are repeated elsewhere; None for a duplicate."""
        for tally, dropped in zip(self.dedups, drops, strict=True):
            tally.documents_in += 1
            tally.chars_in += len(document.text)
            found = dropped.get(row)
            if found is not None and found["lines"] is not None:
                document = without_lines(document, frozenset(found["lines"]))
                tally.changed += 1
            elif found is not None:
                tally.dropped[found["reason"]] += 1
                keeper = [found["keeper_unit"], found["keeper_row"], found["similarity"]]
                rejects.add(row, tally.name, Dropped(found["reason"], compact(keeper)), document)
                self.heartbeat.count(dropped=1)
                return None
            tally.documents_out += 1
            tally.chars_out += len(document.text)
        return document

    def _table(self, batch: list[Document]) -> pa.Table:
        self.heartbeat.enter(Phase.BULK, id=batch[0].id)
        for document in batch:
            self.notes.update(map(str, document.meta.get("reasons") or ()))
        rows = [final_row(document, self.recipe, self.tokenizer) for document in batch]
        for row in rows:
            counts = self.bands[row["band"]]
            counts.documents += 1
            counts.chars += row["char_count"]
            counts.bytes += row["byte_count"]
            counts.tokens += row["token_count"] or 0
            self.licences[row["license"] or "unknown"] += 1
            self.languages[row["language"] or "unknown"] += 1
        return pa.Table.from_pylist(rows, schema=FINAL)


def without_lines(document: Document, lines: frozenset[int]) -> Document:
    """The document without some lines, by number from 0."""
    kept = (line for number, line in enumerate(document.text.split("\n")) if number not in lines)
    return replace(document, text="\n".join(kept))


def final_row(
    document: Document, recipe: CurateRecipe, tokenizer: Tokenizer | None
) -> dict[str, Any]:
    """A document as a row of the shards, with its band and size."""
    meta = dict(document.meta)
    columns = {name: _as(kind, meta.pop(name, None)) for name, kind in FROM_META.items()}
    return {
        "id": document.id,
        "text": document.text,
        **columns,
        "license": None if document.licence is None else valid(document.licence),
        "char_count": len(document.text),
        "token_count": None if tokenizer is None else len(tokenizer.encode(document.text)),
        "media": compact([[m.kind, m.ref] for m in document.media]) if document.media else None,
        "meta": compact(meta),
        "band": recipe.band_of(columns["int_score"]),
        "byte_count": len(document.text.encode()),
    }


def _as(kind: pa.DataType, value: Any) -> Any:
    if value is None:
        return None
    if kind == pa.string():
        return valid(value if isinstance(value, str) else compact(value))
    return float(value) if kind == pa.float32() else int(value)
