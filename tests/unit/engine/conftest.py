from dataclasses import replace

import pytest
from tests.suites.drafts import drafting

from nautiloid.core.seed import Seed
from nautiloid.data.tokenizer import Tokenizer
from nautiloid.model.decoder import Decoder
from nautiloid.model.presets import preset

TEXTS = ["What is 12 + 7 - 5? The answer is a number.\nSort these: 3, 17 and 45.\n"] * 40


@pytest.fixture(scope="session")
def tokenizer():
    return Tokenizer.train(TEXTS, 340)


@pytest.fixture(scope="session")
def config():
    return replace(
        preset("debug"),
        vocab_size=352,  # some more rows than the tokenizer has ids
        hidden_size=64,
        pattern="ME*-M*",
        max_position_embeddings=512,
        initializer_range=0.15,
        mtp=None,
    )


@pytest.fixture(scope="session")
def model(config):
    model = Decoder(config)
    model.init_weights(Seed(1))
    return model


@pytest.fixture(scope="session")
def drafting_model(config):
    return drafting(config)
