"""Decontamination: no document comes near an item of a benchmark in the space of an embedder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document, Embedder
from nautiloid.curate.filters._benchmarks import BenchmarkItem, benchmark_items
from nautiloid.curate.quality.annotators import Embeddings
from nautiloid.curate.stage import Dropped, Stage, stage

# vectors of the benchmarks that are compared at a time
_BLOCK = 8192


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Embedded items: 4 bytes a dimension each.

    Args:
        embedder: The running model.
        vectors: Of length 1 [M, D].
        places: File and row of each.
        texts: Their first characters.
    """

    embedder: Embedder
    vectors: NDArray[np.float32]
    places: tuple[str, ...]
    texts: tuple[str, ...]

    def nearest(self, vectors: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Largest cosine [n] of each vector, and the item [n]."""
        best = np.full(len(vectors), -1.0, np.float32)
        item = np.zeros(len(vectors), np.int64)
        for start in range(0, len(self.vectors), _BLOCK):
            cosine = vectors @ self.vectors[start : start + _BLOCK].T
            here = cosine.argmax(1)
            value = cosine[np.arange(len(vectors)), here]
            item = np.where(value > best, start + here, item)
            best = np.maximum(best, value)
        return best, item


@stage("decontaminate_embedding")
@dataclass(frozen=True, kw_only=True)
class DecontaminateEmbedding(Stage):
    """Drops documents with a piece whose cosine to a benchmark item is above a bound.

    It finds what is reworded, which runs of words do not. A document is compared in pieces that overlap by
    half, since one question in a long page would be averaged away. Reason: `contaminated`, with the
    item, the cosine and the piece. Nemotron-CC-Math removed what was above 0.9.

    Args:
        embedder: The model; a worker process has its own.
        benchmarks: Files of JSON Lines, Parquet or text, or folders of them.
        fields: Columns that count, as the question; all with text when empty.
        max_cosine: Larger ones are contaminated.
        piece_words: Words of a piece of a document; the last piece may be shorter.
        item_words: An item is embedded up to this length.
    """

    embedder: Embeddings | None = None
    benchmarks: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    max_cosine: float = 0.9
    piece_words: int = 120
    item_words: int = 400

    def __post_init__(self) -> None:
        kind = "decontaminate_embedding"
        if self.embedder is None:
            raise InputError(f"{kind}.embedder", None, "name a model, as `embedder.model`")
        if not self.benchmarks:
            raise InputError(f"{kind}.benchmarks", None, "name files of benchmarks")
        if not -1 <= self.max_cosine <= 1:
            raise InputError(f"{kind}.max_cosine", self.max_cosine, "use -1 to 1")
        if self.piece_words < 2 or self.item_words < 1:
            raise InputError(f"{kind}.piece_words", self.piece_words, "use at least 2")

    @property
    def batch_size(self) -> int:
        """As many documents as the model takes texts."""
        assert self.embedder is not None
        return self.embedder.batch_size

    def open(self) -> AbstractContextManager[Any]:
        """Start the model and embed the benchmarks."""
        return self._read()

    @contextmanager
    def _read(self) -> Iterator[Neighbours]:
        assert self.embedder is not None
        items = benchmark_items(self.benchmarks, self.fields)
        with self.embedder.open() as embedder:
            vectors: list[NDArray[np.float32]] = []
            places: list[str] = []
            texts: list[str] = []
            while batch := list(islice(items, self.batch_size)):
                vectors.append(self._embed(embedder, [self._cut(item) for item in batch]))
                places += [item.place for item in batch]
                texts += [" ".join(item.text.split())[:200] for item in batch]
            yield Neighbours(embedder, np.concatenate(vectors), tuple(places), tuple(texts))

    def apply(self, document: Document, tools: Any) -> Document | Dropped:
        """The document, or what it is too near to."""
        return self.apply_batch((document,), tools)[0]

    def apply_batch(
        self, documents: Sequence[Document], tools: Any
    ) -> Sequence[Document | Dropped]:
        """All pieces of the documents go through the model in batches."""
        known: Neighbours = tools
        pieces = [
            (i, text)
            for i, document in enumerate(documents)
            for text in self._pieces(document.text)
        ]
        worst: dict[int, tuple[float, str]] = {}
        for start in range(0, len(pieces), self.batch_size):
            batch = pieces[start : start + self.batch_size]
            vectors = self._embed(known.embedder, [text for _, text in batch])
            for (i, text), cosine, item in zip(batch, *known.nearest(vectors), strict=True):
                if cosine > self.max_cosine and cosine > worst.get(i, (-2.0, ""))[0]:
                    shown = " ".join(text.split())[:200]
                    detail = f"{known.places[item]}: cosine {cosine:.3f} > {self.max_cosine:g}"
                    worst[i] = (float(cosine), f"{detail}: {shown!r} to {known.texts[item]!r}")
        return [
            Dropped("contaminated", worst[i][1], document) if i in worst else document
            for i, document in enumerate(documents)
        ]

    def _pieces(self, text: str) -> Iterator[str]:
        words = text.split()
        step = self.piece_words // 2
        for start in range(0, max(1, len(words) - step), step):
            if piece := words[start : start + self.piece_words]:
                yield " ".join(piece)

    def _cut(self, item: BenchmarkItem) -> str:
        return " ".join(item.text.split()[: self.item_words])

    def _embed(self, embedder: Embedder, texts: list[str]) -> NDArray[np.float32]:
        vectors = np.array(embedder.embed(texts), np.float32).reshape(len(texts), -1)
        # of length 1 by the protocol, but rounding must not lift a cosine over the bound
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
