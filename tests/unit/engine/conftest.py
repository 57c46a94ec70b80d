from dataclasses import replace

import pytest
import torch

from nautiloid.core.seed import Seed
from nautiloid.data.tokenizer import Tokenizer
from nautiloid.model.config import MTPConfig
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
    """A tiny hybrid whose MTP head and trunk agree often enough that some drafts are kept."""
    model = Decoder(replace(config, mtp=MTPConfig(depth=2), initializer_range=0.12))
    model.init_weights(Seed(1))
    weights = dict(model.named_parameters())
    with torch.no_grad():
        # both say mostly that tokens go round in circles of four
        weights["embeddings.weight"] *= 4
        circles = weights["embeddings.weight"].unflatten(0, (-1, 4)).roll(1, 1).flatten(0, 1)
        weights["lm_head.weight"] += 0.3 * circles
        fusion = weights["mtp.layers.0.eh_proj.weight"]
        fusion[:, : fusion.shape[0]] += 3 * torch.eye(fusion.shape[0])
    return model
