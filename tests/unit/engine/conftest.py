from dataclasses import replace

import pytest
import torch

from nautiloid.core.seed import Seed
from nautiloid.data.tokenizer import Tokenizer
from nautiloid.model.decoder import Decoder
from nautiloid.model.presets import preset

TEXTS = ["What is 12 + 7 - 5? The answer is a number.\nSort these: 3, 17 and 45.\n"] * 40


@pytest.fixture(scope="session")
def tokenizer():
    return Tokenizer.train(TEXTS, 352)


@pytest.fixture(scope="session")
def config(tokenizer):
    return replace(
        preset("debug"),
        vocab_size=tokenizer.vocab_size,
        hidden_size=64,
        pattern="ME*-M*",
        max_position_embeddings=512,
        initializer_range=0.15,
        mtp=None,
    )


@pytest.fixture(scope="session")
def model(config):
    torch.manual_seed(0)
    model = Decoder(config)
    model.init_weights(Seed(1))
    return model
