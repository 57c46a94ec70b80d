"""A unit of the input to documents: read, extract, the stages, sketches for deduplication.

The result is the folder `units/<index>/`: `documents.parquet` (what came through), `dropped.jsonl.zst`
(what did not, with stage, reason and detail), `sketch-<n>.parquet` for each deduplication, `samples.json`,
`faults.jsonl` (what could not be read), `done.json` with the counts and a checksum of each file.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from nautiloid.core.errors import InputError
from nautiloid.core.files import write_json, write_text
from nautiloid.core.types import Document
from nautiloid.curate.flow import Flow, Tally, extract_step, valid
from nautiloid.curate.heartbeat import Phase
from nautiloid.curate.page import Fault, Page
from nautiloid.curate.reader import Item, Unit
from nautiloid.curate.reservoir import Samples, sample_of
from nautiloid.curate.stage import Dropped
from nautiloid.curate.store import (
    DOCUMENTS,
    BatchWriter,
    JsonlWriter,
    documents_table,
    parquet_writer,
    result_folder,
)

if TYPE_CHECKING:
    from nautiloid.curate.jobs import Jobs
    from nautiloid.curate.recipe import CurateRecipe

HEAD_CHARS = 1000
LISTED_FAULTS = 1000


def unit_folder(folder: Path, index: int) -> Path:
    """Where the result of a unit goes."""
    return folder / "units" / f"{index:06d}"


def work_unit(jobs: Jobs, job: Mapping[str, Any]) -> dict[str, Any]:
    """Do a unit.

    Args:
        jobs: The recipe, ready to work.
        job: `index` of the unit; `skips`: items that ended a worker before, by ordinal; `cut`: the item
            at which the reader did; `alone`: items to keep out of batches.
    """
    unit = jobs.units[job["index"]]
    work = _UnitWork(jobs, unit, job)
    with result_folder(unit_folder(jobs.folder, job["index"]), work.facts) as folder:
        work.run(folder)
    return work.facts()


def peak_bytes() -> int:
    """Most memory that this process has held at once."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


class Rejects:
    """The file of what was dropped, and the samples among it."""

    def __init__(self, path: Path, recipe: CurateRecipe, samples: Samples):
        self._writer = JsonlWriter(path)
        self._keeps = recipe.rejects
        self._samples = samples

    def add(self, ordinal: int, stage: str, dropped: Dropped, item: Page | Document | None) -> None:
        """Record what was dropped where and why."""
        document = dropped.document or (item if isinstance(item, Document) else None)
        if document is None:
            document = Document(
                item.id if item else f"item {ordinal}",
                "",
                meta={"url": item.url} if isinstance(item, Page) else {},
            )
        record = {**sample_of(document, stage, dropped.reason, dropped.detail), "item": ordinal}
        if self._samples.wants(stage, dropped.reason, document.id):
            self._samples.add(record)
        if self._keeps == "none":
            return
        text = document.text if self._keeps == "full" else document.text[:HEAD_CHARS]
        self._writer.write({**record, "text": text, "chars": len(document.text)})

    def close(self) -> None:
        """End the file."""
        self._writer.close()


class _UnitWork:
    def __init__(self, jobs: Jobs, unit: Unit, job: Mapping[str, Any]):
        self.jobs = jobs
        self.recipe = jobs.recipe
        self.heartbeat = jobs.heartbeat
        self.unit = unit
        self.skips: Mapping[str, Any] = job["skips"]
        self.cut: Mapping[str, Any] | None = job["cut"]
        self.alone = frozenset(job["alone"])
        self.reading = Tally("read", "read")
        self.steps = [extract_step(self.recipe.extractor), *jobs.steps("stage")]
        self.sketching = [Tally(name, "dedup") for name in self.recipe.names("dedup")]
        self.faults: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.listed: list[Fault] = []
        self.digest = blake2b(digest_size=16)
        self.documents = 0
        self.seconds = 0.0

    def facts(self) -> dict[str, Any]:
        """Counts for the manifest."""
        return {
            "unit": self.unit.name,
            "documents": self.documents,
            "input_digest": self.digest.hexdigest(),
            "stages": [
                tally.facts()
                for tally in (self.reading, *(s.tally for s in self.steps), *self.sketching)
            ],
            "faults": {
                reason: {"count": count, "lost": self.lost[reason]}
                for reason, count in sorted(self.faults.items())
            },
            "seconds": self.seconds,
            "peak_bytes": peak_bytes(),
        }

    def run(self, folder: Path) -> None:
        began = time.perf_counter()
        samples = Samples()
        rejects = Rejects(folder / "dropped.jsonl.zst", self.recipe, samples)
        with ExitStack() as stack:
            stack.callback(rejects.close)
            writer = stack.enter_context(parquet_writer(folder / "documents.parquet", DOCUMENTS))
            sketches = [_Sketch(folder / f"sketch-{n}.parquet") for n in range(len(self.sketching))]
            for sketch in sketches:
                stack.callback(sketch.close)
            batches = BatchWriter(lambda batch: self._write(batch, writer, sketches))

            def sink(ordinal: int, document: Document) -> None:
                self.documents += 1
                self.heartbeat.count(kept=1)
                batches.add(document)

            def reject(ordinal: int, stage: str, dropped: Dropped, item: Page | Document) -> None:
                self.heartbeat.count(dropped=1)
                rejects.add(ordinal, stage, dropped, item)

            flow = self.jobs.flow(Flow(self.steps, self.heartbeat, sink, reject, self.alone))
            for ordinal, item in self._read():
                start = 0 if isinstance(item, Page) else 1
                skip = self.skips.get(str(ordinal))
                if skip is None:
                    flow.feed(ordinal, item, start)
                else:
                    at = max(start, skip["step"])
                    flow.skip(at, start, skip["reason"])
                    stage = self.steps[at].tally.name
                    rejects.add(ordinal, stage, Dropped(skip["reason"], skip["detail"]), item)
            flow.finish()
            batches.flush()
            self._sketch_nothing(sketches)
        write_json(folder / "samples.json", samples.records())
        lines = [
            json.dumps({"place": f.place, "reason": f.reason, "detail": f.detail, "lost": f.lost})
            for f in self.listed
        ]
        write_text(folder / "faults.jsonl", "".join(f"{line}\n" for line in lines))
        self.seconds = time.perf_counter() - began

    def _read(self) -> Iterator[tuple[int, Page | Document]]:
        """Items with their ordinals; faults are counted here."""
        items = iter(self.recipe.source.read(self.unit, self.recipe.limits))
        ordinal = 0
        while self.cut is None or ordinal < self.cut["item"]:
            self.heartbeat.enter(Phase.READ, ordinal, id=self.unit.name)
            began = time.perf_counter()
            item = self._next(items, ordinal)
            self.reading.seconds += time.perf_counter() - began
            if item is None:
                return
            if isinstance(item, Fault):
                self._fault(item)
            else:
                self._count(item)
                yield ordinal, item
            ordinal += 1
        assert self.cut is not None
        self._fault(
            Fault(self.unit.name, f"reader_{self.cut['reason']}", self.cut["detail"], lost=None)
        )

    def _next(self, items: Iterator[Item], ordinal: int) -> Item | None:
        try:
            return next(items, None)
        except InputError:
            raise
        except Exception as error:
            detail = f"{type(error).__name__}: {error}"[:300]
            self._fault(Fault(f"{self.unit.name}: item {ordinal}", "reader_error", detail, None))
            return None

    def _count(self, item: Page | Document) -> None:
        self.heartbeat.count(items=1)
        content = item.content if isinstance(item, Page) else item.text.encode("utf-8", "replace")
        self.digest.update(b"%d " % len(content))
        self.digest.update(content)
        self.digest.update(item.id.encode("utf-8", "replace"))
        self.reading.documents_in += 1
        self.reading.documents_out += 1
        self.reading.chars_out += len(content)

    def _fault(self, fault: Fault) -> None:
        self.faults[fault.reason] += 1
        lost = fault.lost or 0
        self.lost[fault.reason] += lost
        self.reading.documents_in += lost
        if lost:
            self.reading.dropped[fault.reason] += lost
        self.digest.update(f"{fault.reason} {lost}".encode())
        if len(self.listed) < LISTED_FAULTS:
            self.listed.append(fault)

    def _write(
        self, batch: list[Document], writer: pq.ParquetWriter, sketches: list[_Sketch]
    ) -> None:
        self.heartbeat.enter(Phase.BULK, id=valid(batch[0].id))
        writer.write_table(documents_table(batch))
        for dedup, tally, sketch in zip(self.recipe.dedup, self.sketching, sketches, strict=True):
            began = time.perf_counter()
            sketch.write(dedup.sketch(batch))
            tally.seconds += time.perf_counter() - began

    def _sketch_nothing(self, sketches: list[_Sketch]) -> None:
        if not self.documents:
            for dedup, sketch in zip(self.recipe.dedup, sketches, strict=True):
                sketch.write(dedup.sketch(()))


class _Sketch:
    """A Parquet file that takes its schema from the first table."""

    def __init__(self, path: Path):
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def write(self, table: Any) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
