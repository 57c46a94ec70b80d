"""Entropy of text under the frequencies of its tokens: the loss that any training has to beat."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from nautiloid.data.source import Source
from nautiloid.data.tokenizer import Tokenizer


def unigram_entropy(train: Source, held_out: Source, tokenizer_folder: Path) -> float:
    """Nats a token of the held-out text under the token frequencies of the training text.

    This is the loss of a model that knows how often each token occurs and nothing else; unseen
    tokens count as seen once.
    """
    tokenizer = Tokenizer.load(tokenizer_folder)
    counts = Counter(range(tokenizer.vocab_size))
    for ids in _ids(train, tokenizer):
        counts.update(ids)
    total = sum(counts.values())
    nats, tokens = 0.0, 0
    for ids in _ids(held_out, tokenizer):
        nats -= sum(math.log(counts[i] / total) for i in ids)
        tokens += len(ids)
    return nats / tokens


def _ids(source: Source, tokenizer: Tokenizer) -> Iterator[list[int]]:
    for sample in source.read():
        yield tokenizer.encode(sample.text or "")
