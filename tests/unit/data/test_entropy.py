"""Entropy under the frequencies of tokens, against the formula."""

import math
from collections import Counter
from dataclasses import dataclass

import pytest

from nautiloid.core.types import Sample
from nautiloid.data.entropy import unigram_entropy
from nautiloid.data.source import Source
from nautiloid.data.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Lines(Source):
    texts: tuple[str, ...]

    def read(self, start=0):
        for i, text in enumerate(self.texts[start:], start):
            yield Sample(id=str(i), source="lines", text=text)


def test_it_is_the_cross_entropy_with_one_more_of_each_token(tmp_path):
    train, held_out = ("abab abab", "abc"), ("ab c",)
    tokenizer = Tokenizer.train(list(train), 300, grammar="nemotron3")
    tokenizer.save(tmp_path)
    counts = Counter(i for text in train for i in tokenizer.encode(text))
    total = counts.total() + tokenizer.vocab_size
    ids = tokenizer.encode(held_out[0])
    expected = -sum(math.log((counts[i] + 1) / total) for i in ids) / len(ids)
    found = unigram_entropy(Lines(texts=train), Lines(texts=held_out), tmp_path)
    assert found == pytest.approx(expected)
