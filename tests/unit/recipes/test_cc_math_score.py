"""Bits of documents: all bytes are counted once, formulas apart, and the sum is that of the model."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from nautiloid.core.seed import Seed
from nautiloid.data.tokenizer import Tokenizer
from nautiloid.model.decoder import Decoder
from nautiloid.model.presets import preset
from nautiloid.recipes.repro._score import score

TEXT = "Let $x^2 = \\alpha$ hold; then \u00e9 $$\ny\n$$ too, and that is all. " * 3


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([TEXT, "Some other words for the merges."] * 4, 330)


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Decoder:
    made = Decoder(replace(preset("debug"), vocab_size=tokenizer.vocab_size))
    made.init_weights(Seed(0))
    return made


def test_bytes_are_counted_once(model: Decoder, tokenizer: Tokenizer) -> None:
    found = score(model, tokenizer, {"a": TEXT, "b": "x"}, 16)
    assert found["a"][1] == len(TEXT.encode())
    assert found["b"][1] == 1
    assert found["b"][2:] == [0, 0]
    formulas = 3 * (len("$x^2 = \\alpha$") + len("$$\ny\n$$"))
    assert formulas <= found["a"][3] < formulas + 40, "whole tokens that touch a formula"
    assert 0 < found["a"][2] < found["a"][0]


def test_bits_are_those_of_the_model(model: Decoder, tokenizer: Tokenizer) -> None:
    found = score(model, tokenizer, {"a": TEXT}, 512)["a"]
    ids = tokenizer.encode(TEXT)
    assert tokenizer.bos_id is not None
    with torch.no_grad():
        logits = model(torch.tensor([[tokenizer.bos_id, *ids]]))[0, :-1]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(ids), reduction="sum")
    assert found[0] == pytest.approx(float(expected) / math.log(2), rel=1e-5)


def test_documents_do_not_see_each_other(model: Decoder, tokenizer: Tokenizer) -> None:
    alone = score(model, tokenizer, {"b": "Let $x$ be."}, 32)["b"]
    beside = score(model, tokenizer, {"a": TEXT, "b": "Let $x$ be."}, 32)["b"]
    assert beside == pytest.approx(alone, rel=1e-5)
