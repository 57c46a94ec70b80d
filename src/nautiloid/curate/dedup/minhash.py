"""Near duplicates: MinHash, locality-sensitive hashing by bands, connected components."""

from __future__ import annotations

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
from nautiloid.curate.dedup import _candidates, _forest
from nautiloid.curate.dedup import _shingles as shingles
from nautiloid.curate.dedup._arena import Arena, compare, join_similar
from nautiloid.curate.dedup._corpus import SETTINGS, Corpus
from nautiloid.curate.dedup._spool import Spool, workspace
from nautiloid.curate.dedup.dedup import DECISIONS, Dedup, dedup, quality

# characters of documents that are hashed at a time: 16 MB as code points
CHUNK_CHARS = 1 << 22
CHUNK_ROWS = 1 << 16


def nemotron() -> MinHash:
    """Settings of Nemotron-CC-Math and of NeMo Curator: 24-grams of characters, 20 x 13, no verification."""
    return MinHash(shingle="characters", size=24, bands=20, rows=13, threshold=None)


@dedup("minhash")
@dataclass(frozen=True, kw_only=True)
class MinHash(Dedup):
    """Documents that share a band of their signature, verified, joined to components.

    Compared is the text composed (NFC), in lower case, white space collapsed; words are runs of
    letters and digits, so punctuation does not count. Documents of equal text collapse before
    anything else. Of a component one document stays; `similarity` is the exact Jaccard index of a
    document that goes and the one that stays, and the reason says whether that is an edge by itself
    (`near_duplicate`) or there is only a chain of edges (`near_duplicate_transitive`). Without
    verification an edge is a shared band, and the index is not known.

    Memory of `decide` is 24 bytes a document, 16 more for one that has a candidate, `memory_bytes` for
    what is sorted and compared, and a row group of a sketch file while it is decoded (some 48 MB).

    Args:
        shingle: What a shingle is made of.
        size: How many words or characters; a shorter text is one shingle.
        bands: Bands of a signature; one that agrees makes two documents candidates.
        rows: Minima a band; two documents of Jaccard index s are found with probability
            1 - (1 - s^rows)^bands.
        threshold: Jaccard index from which on a candidate is an edge; None takes all candidates.
        seed: Of the permutations; sketches of one seed can be compared.
        reference: Folders with sketches of former runs; their documents never go, and documents that
            duplicate them do.
    """

    shingle: Literal["words", "characters"] = "words"
    size: int = 5
    bands: int = 20
    rows: int = 8
    threshold: float | None = 0.8
    seed: int = 42
    reference: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("size", "bands", "rows"):
            if not 1 <= getattr(self, name) <= 1000:
                raise InputError(
                    f"dedup.{name}", getattr(self, name), "use a number from 1 to 1000"
                )
        if self.bands > 100:
            raise InputError("dedup.bands", self.bands, "use at most 100")
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise InputError("dedup.threshold", self.threshold, "use a number above 0, at most 1")
        if not 0 <= self.seed < 2**32:
            raise InputError("dedup.seed", self.seed, "use a number from 0 to 2^32 - 1")

    def sketch(self, documents: Sequence[Document]) -> pa.Table:
        """Text hash and band hashes; with a threshold also the folded text, for the verification."""
        folded = [shingles.fold(d.text) for d in documents]
        hashes = np.empty((len(folded), 2), np.uint64)
        banded = np.empty((len(folded), self.bands), np.uint64)
        a, b = shingles.multipliers(self.seed, self.bands * self.rows)
        for start, stop in _chunks([len(t) for t in folded]):
            values = np.empty((stop - start, len(a)), np.uint32)
            codes, bounds = shingles.join(folded[start:stop])
            shingles.signatures(
                codes, bounds, shingles.classes(), self.shingle == "words", self.size, a, b,
                hashes[start:stop], values,
            )  # fmt: skip
            shingles.band_hashes(values, self.bands, self.rows, banded[start:stop])
        columns: dict[str, Any] = {
            "id": pa.array([d.id for d in documents], pa.string()),
            "quality": pa.array([quality(d) for d in documents], pa.float32()),
            "hash_0": pa.array(hashes[:, 0]),
            "hash_1": pa.array(hashes[:, 1]),
        }
        for index in range(self.bands):
            columns[_candidates.band(index)] = pa.array(banded[:, index])
        if self.threshold is not None:
            texts = [t.encode("utf-8", "surrogatepass") for t in folded]
            columns["text"] = pa.array(texts, pa.binary())
        return pa.table(columns).replace_schema_metadata({SETTINGS: self._settings()})

    def decide(self, sketches: Sequence[Path], out: Path, *, memory_bytes: int) -> None:
        """Components of all documents; see the class for what is written."""
        corpus = Corpus.open(sketches, self.reference, self._settings())
        with workspace(out) as work:
            first = _forest.forest(corpus.count)
            _candidates.copies(corpus, first, work / "copies", memory_bytes)
            parent = first.copy()
            arena = self._connect(corpus, first, parent, work, memory_bytes)
            _forest.flatten(parent)
            members = np.zeros(corpus.count, bool)
            _forest.grouped(parent, members)
            keeper = np.zeros_like(parent)
            corpus.rank(members, keeper, memory_bytes)
            best = np.empty_like(parent)
            _forest.keepers(parent, keeper, best)
            np.take(best, parent, out=keeper)
            removed = np.flatnonzero(keeper[: corpus.new] != np.arange(corpus.new))
            similarity = self._measure(corpus, first, keeper, removed, arena, work, memory_bytes)
            self._write(corpus, first, keeper, removed, similarity, out)

    def _settings(self) -> bytes:
        text = "with" if self.threshold is not None else "without"
        return (
            f"minhash version 1, {self.size} {self.shingle}, {self.bands} x {self.rows}, "
            f"seed {self.seed}, {text} text"
        ).encode()

    def _connect(
        self, corpus: Corpus, first: NDArray[Any], parent: NDArray[Any], work: Path, memory: int
    ) -> Arena | None:
        """Unite documents that are edges; the sets of all candidates where they are verified."""
        is_copy = first != np.arange(corpus.count)
        found = _candidates.pairs(
            corpus, self.bands, is_copy, work / "bands", memory, is_chain=self.threshold is None
        )
        if self.threshold is None:
            for pairs in found:
                _forest.unite_all(parent, pairs)
            return None
        spool = Spool(work / "pairs", 2)
        wanted = np.zeros(corpus.count, bool)
        for pairs in found:
            wanted[pairs.ravel().astype(np.int64)] = True
            spool.append(pairs)
        arena = Arena(work / "sets", np.flatnonzero(wanted), np.uint32)
        for values, counts in self._sets(corpus, wanted, memory):
            arena.add(values, counts)
        rows = spool.chunks(0, CHUNK_ROWS)
        for pairs, sets in arena.sweep(rows, 2, memory):
            packed = np.unique(pairs[:, 0] << np.uint64(32) | pairs[:, 1])
            pairs = np.stack([packed >> np.uint64(32), packed & np.uint64(0xFFFFFFFF)], 1)
            join_similar(pairs, sets, arena.documents, parent, self.threshold)
        return arena

    def _sets(
        self, corpus: Corpus, wanted: NDArray[np.bool_], memory: int
    ) -> Iterator[tuple[NDArray[np.uint32], NDArray[np.int64]]]:
        """Shingle sets of the documents marked, from their texts; about 32 bytes a character at work."""
        chars = min(CHUNK_CHARS, memory // 128)
        for _, batch in corpus.batches(["text"], wanted, rows=1 << 9):
            texts = [t.decode("utf-8", "surrogatepass") for t in batch.column("text").to_pylist()]
            for start, stop in _chunks([len(t) for t in texts], chars):
                codes, bounds = shingles.join(texts[start:stop])
                values = np.empty(len(codes), np.uint32)
                counts = np.empty(stop - start, np.int64)
                total = shingles.sets(
                    codes, bounds, shingles.classes(), self.shingle == "words", self.size, values, counts
                )  # fmt: skip
                yield values[:total], counts

    def _measure(
        self,
        corpus: Corpus,
        first: NDArray[Any],
        keeper: NDArray[Any],
        removed: NDArray[np.int64],
        arena: Arena | None,
        work: Path,
        memory: int,
    ) -> NDArray[np.float32]:
        """Jaccard index [R] of each removed document's text and its keeper's; 1 for equal texts.

        Without verification the index is that of the band hashes: above 0 where one is shared.
        """
        if arena is None:
            wanted = np.zeros(corpus.count, bool)
            wanted[first[removed]] = True
            wanted[first[keeper[removed]]] = True
            arena = Arena(work / "shared_bands", np.flatnonzero(wanted), np.uint64)
            names = [_candidates.band(i) for i in range(self.bands)]
            for _, batch in corpus.batches(names, wanted):
                hashes = np.sort(np.stack([np.asarray(c) for c in batch.columns], 1), 1)
                arena.add(hashes.ravel(), np.full(len(hashes), self.bands))

        def rows() -> Iterator[NDArray[np.uint64]]:
            for start in range(0, len(removed), CHUNK_ROWS):
                here = removed[start : start + CHUNK_ROWS]
                found = np.stack(
                    [first[here], first[keeper[here]], np.arange(len(here)) + start], 1
                )
                yield found[found[:, 0] != found[:, 1]].astype(np.uint64)

        similarity = np.ones(len(removed), np.float32)
        for found, sets in arena.sweep(rows(), 3, memory):
            values = np.empty(len(found))
            compare(found, sets, values)
            similarity[found[:, 2].astype(np.int64)] = values
        return similarity

    def _write(
        self,
        corpus: Corpus,
        first: NDArray[Any],
        keeper: NDArray[Any],
        removed: NDArray[np.int64],
        similarity: NDArray[np.float32],
        out: Path,
    ) -> None:
        with atomic_path(out) as temporary, pq.ParquetWriter(temporary, DECISIONS) as writer:
            for start in range(0, len(removed), CHUNK_ROWS):
                here = removed[start : start + CHUNK_ROWS]
                index = similarity[start : start + CHUNK_ROWS]
                is_exact = first[here] == first[keeper[here]]
                is_edge = index > 0 if self.threshold is None else index >= self.threshold
                reason = np.where(is_edge, "near_duplicate", "near_duplicate_transitive")
                unknown = np.zeros(len(here), bool) if self.threshold is not None else ~is_exact
                unit, row = corpus.place(here)
                keeper_unit, keeper_row = corpus.place(keeper[here])
                writer.write_table(
                    pa.table(
                        {
                            "unit": unit,
                            "row": row,
                            "reason": np.where(is_exact, "exact_document", reason),
                            "keeper_unit": keeper_unit,
                            "keeper_row": keeper_row,
                            "similarity": pa.array(index, pa.float32(), mask=unknown),
                            "lines": pa.nulls(len(here), pa.list_(pa.int32())),
                        },
                        DECISIONS,
                    )
                )


def _chunks(lengths: list[int], chars: int = CHUNK_CHARS) -> Iterator[tuple[int, int]]:
    """Ranges of documents of about `chars` characters; a longer one is alone."""
    start, size = 0, 0
    for i, length in enumerate(lengths):
        if i > start and size + length > chars:
            yield start, i
            start, size = i, 0
        size += length
    if start < len(lengths):
        yield start, len(lengths)
