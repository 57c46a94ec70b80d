"""A copy of text sources as compressed JSON lines, with counts, licences and checksums."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from nautiloid.core.errors import InputError
from nautiloid.core.files import MANIFEST, atomic_path, verify_manifest, write_manifest
from nautiloid.core.types import Sample
from nautiloid.data.source import Source
from nautiloid.data.sources.jsonl import Jsonl, write_jsonl
from nautiloid.data.tokenizer import Tokenizer


def write_corpus(folder: Path, splits: Mapping[str, Source]) -> None:
    """Write `<split>.jsonl.zst` for every split; does nothing when a whole copy is there.

    The manifest holds documents, bytes and licences of each split and a checksum of each file.

    Raises:
        InputError: A split has no document, or the copy was damaged since.
    """
    if (folder / MANIFEST).is_file():
        verify_manifest(folder)
        return
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        facts: dict[str, object] = {}
        for name, source in splits.items():
            tally = _Tally()
            write_jsonl(temporary / f"{name}.jsonl.zst", tally.count(source.read()))
            if not tally.documents:
                raise InputError(name, source.kind, "the source gives no document")
            facts[name] = {
                "documents": tally.documents,
                "text_bytes": tally.size,
                "licences": dict(tally.licences.most_common()),
                "fingerprint": source.fingerprint(),
            }
        write_manifest(temporary, splits=facts)


class _Tally:
    def __init__(self) -> None:
        self.documents = 0
        self.size = 0
        self.licences: Counter[str] = Counter()

    def count(self, samples: Iterator[Sample]) -> Iterator[Sample]:
        for sample in samples:
            self.documents += 1
            self.size += len((sample.text or "").encode())
            self.licences[sample.licence or "unknown"] += 1
            yield sample


def unigram_entropy(folder: Path, tokenizer_folder: Path) -> float:
    """Nats a token of the held-out text under the token frequencies of the training text.

    This is the loss of a model that knows how often each token occurs and nothing else; unseen
    tokens count as seen once.
    """
    tokenizer = Tokenizer.load(tokenizer_folder)
    counts = Counter(range(tokenizer.vocab_size))
    for ids in _ids(folder, "train", tokenizer):
        counts.update(ids)
    total = sum(counts.values())
    nats, tokens = 0.0, 0
    for ids in _ids(folder, "test", tokenizer):
        nats -= sum(math.log(counts[i] / total) for i in ids)
        tokens += len(ids)
    return nats / tokens


def _ids(folder: Path, split: str, tokenizer: Tokenizer) -> Iterator[list[int]]:
    for sample in Jsonl(paths=(str(folder / f"{split}.jsonl.zst"),)).read():
        yield tokenizer.encode(sample.text or "")
