"""Decontamination: no document keeps a long run of words of a benchmark."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.dedup._reference import collapse, words
from nautiloid.curate.dedup._shingles import fold, word_runs
from nautiloid.curate.filters._benchmarks import benchmark_items
from nautiloid.curate.stage import Dropped, Stage, stage

log = logging.getLogger(__name__)
_LISTED = 20


@dataclass(frozen=True, slots=True)
class Index:
    """Runs of words of all items: 12 bytes each, and the places of the items.

    Args:
        hashes: Sorted [G].
        items: Item [G] that a run is from; the first one where several have it.
        places: File and row of each item.
    """

    hashes: NDArray[np.uint64]
    items: NDArray[np.int32]
    places: tuple[str, ...]

    def find(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Positions [n] in the index, -1 for what is not there."""
        if not len(self.hashes):
            return np.full(len(hashes), -1)
        position = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        return np.where(self.hashes[position] == hashes, position, -1)


@stage("decontaminate_ngram")
@dataclass(frozen=True, kw_only=True)
class DecontaminateNgram(Stage):
    """Finds runs of words that a document shares with an item of a benchmark.

    Words are runs of letters and digits in lower case, so punctuation, white space and marks of
    formulas do not count. Reason: `contaminated`, with the item and the run. In use are runs of 9 words
    (AceReason), 12 (datatrove), 13 (GPT-3, FineMath) and 14 (Terminal-Corpus). An item of fewer words
    cannot be found; how many those are is logged.

    Args:
        benchmarks: Files of JSON Lines, Parquet or text, or folders of them.
        fields: Columns that count; all with text when empty.
        size: Words of a run.
        least_runs: Different shared runs from which on a document is contaminated.
        action: Drop the document, or remove the lines that hold shared runs. What was removed is listed in
            `meta["contamination"]`.
        least_words: With `passage`, a document that keeps fewer words is dropped.
    """

    benchmarks: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    size: int = 13
    least_runs: int = 1
    action: Literal["document", "passage"] = "document"
    least_words: int = 50

    def __post_init__(self) -> None:
        if not self.benchmarks:
            raise InputError("decontaminate_ngram.benchmarks", None, "name files of benchmarks")
        for name in ("size", "least_runs"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"decontaminate_ngram.{name}", getattr(self, name), "use at least 1"
                )

    def open(self) -> AbstractContextManager[Any]:
        """Read and hash the benchmarks."""
        return self._read()

    @contextmanager
    def _read(self) -> Iterator[Index]:
        runs: list[NDArray[np.uint64]] = []
        places: list[str] = []
        short = 0
        for item in benchmark_items(self.benchmarks, self.fields):
            found = np.unique(word_runs(fold(item.text), self.size))
            short += not len(found)
            runs.append(found)
            places.append(item.place)
        if short:
            log.warning(
                "%d of %d benchmark items have fewer than %d words and cannot be found",
                short, len(places), self.size,
            )  # fmt: skip
        hashes = np.concatenate(runs) if runs else np.empty(0, np.uint64)
        owners = np.repeat(np.arange(len(runs), dtype=np.int32), [len(r) for r in runs])
        hashes, first = np.unique(hashes, return_index=True)
        yield Index(hashes, owners[first], tuple(places))

    def apply(self, document: Document, tools: Any) -> Document | Dropped:
        """The document, the document without the lines that match, or what matched."""
        index: Index = tools
        found = index.find(word_runs(fold(document.text), self.size))
        starts = np.flatnonzero(found >= 0)
        if len(np.unique(found[starts])) < self.least_runs:
            return document
        lines = document.text.split("\n")
        by_line = [words(collapse(fold(line))) for line in lines]
        flat = [word for line in by_line for word in line]
        detail = self._detail(index, found[starts], starts, flat)
        if self.action == "document":
            return Dropped("contaminated", detail[0], document)
        touched = np.zeros(len(flat), bool)
        for start in starts.tolist():
            touched[start : start + self.size] = True
        ends = np.cumsum([0, *map(len, by_line)])
        kept = [not touched[i:j].any() for i, j in pairwise(ends)]
        left = sum(len(line) for line, stays in zip(by_line, kept, strict=True) if stays)
        if left < self.least_words:
            return Dropped("contaminated", f"{left} words without {detail[0]}", document)
        text = "\n".join(line for line, stays in zip(lines, kept, strict=True) if stays)
        removed = {"contamination": detail[:_LISTED]}
        return replace(document, text=text, meta={**document.meta, **removed})

    def _detail(
        self, index: Index, found: NDArray[np.int64], starts: NDArray[np.int64], flat: list[str]
    ) -> list[str]:
        """Place of each matched item, how many runs it shares, and the first of them."""
        items = index.items[found]
        listed: list[str] = []
        for item in dict.fromkeys(items.tolist()):
            here = starts[items == item]
            run = " ".join(flat[int(here[0]) : int(here[0]) + self.size])
            listed.append(f"{index.places[item]}: {len(here)} x {self.size} words: {run}")
        return listed
