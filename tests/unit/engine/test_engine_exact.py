"""The deterministic setting. Rule of every test here: the same bits (design decision 9)."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nautiloid import Engine
from nautiloid.core.errors import InputError
from nautiloid.core.types import SamplingParams
from nautiloid.data.batch import Batch
from nautiloid.model import exact
from nautiloid.model.decoder import Decoder
from nautiloid.train.config import TrainerConfig
from nautiloid.train.trainer import Trainer

LENGTHS = (1, 60, 64, 125)


def prompt(length: int, vocabulary: int = 352) -> list[int]:
    generator = torch.Generator().manual_seed(length)
    return torch.randint(vocabulary, (length,), generator=generator).tolist()


def drawn(length: int, **changes: object) -> SamplingParams:
    return SamplingParams(temperature=0.8, max_tokens=10, seed=length, **changes)


@pytest.fixture(scope="module")
def alone(model):
    """Each prompt by itself."""
    engine = Engine(model, max_batch=1, stop_ids=(), deterministic=True)
    return {n: engine.generate([prompt(n)], drawn(n))[0] for n in LENGTHS}


@given(
    lengths=st.lists(st.sampled_from(LENGTHS), min_size=1, max_size=5),
    prefill_tokens=st.sampled_from([64, 70, 128, 2048]),
    max_batch=st.integers(1, 4),
    pauses=st.sets(st.integers(1, 12), max_size=2),
    preemption=st.sampled_from(["recompute", "swap"]),
)
@settings(max_examples=5, deadline=None)
def test_company_pieces_and_preemption_do_not_change_a_bit(
    model, alone, lengths, prefill_tokens, max_batch, pauses, preemption
):
    engine = Engine(
        model,
        max_batch=max_batch,
        stop_ids=(),
        prefill_tokens=prefill_tokens,
        preemption=preemption,
        deterministic=True,
    )
    ids = {engine.submit(prompt(n), drawn(n)): n for n in lengths}
    done, step = {}, 0
    while len(done) < len(ids):
        step += 1
        if step in pauses:
            engine.pause()
            engine.resume()
        done |= engine.step()
    for request_id, n in ids.items():
        assert done[request_id].ids == alone[n].ids
        assert done[request_id].logprobs == alone[n].logprobs


def test_log_probabilities_are_the_trainers(model, alone):
    for n, completion in alone.items():
        tokens = torch.tensor([*completion.prompt_ids, *completion.ids])
        trained = exact.logprobs(model, tokens, (len(tokens),), temperature=0.8)
        assert trained.requires_grad
        assert tuple(trained[n - 1 : -1].tolist()) == completion.logprobs


def test_score_is_the_trainers_after_training(model):
    """Packed in the trainer with others, and with weights that came by the stream."""
    trained = Decoder(model.config)
    trained.load_state_dict(model.state_dict())
    trainer = Trainer(trained, TrainerConfig(num_steps=4, device="cpu"))
    tokens = torch.tensor(prompt(91))
    trainer.step([
        Batch(
            tokens_T=tokens[:-1],
            targets_T=tokens[1:],
            weight_T=torch.ones(90),
            positions_T=torch.arange(90),
            lengths=(90,),
            row_lengths=(90,),
            sample_T=torch.zeros(90, dtype=torch.int32),
        )
    ])  # fmt: skip
    copy = Decoder(model.config)
    copy.load_state_dict(model.state_dict())
    engine = Engine(copy, deterministic=True)
    engine.load_weights(trained.state_dict().items(), 1)
    parts = [torch.tensor(prompt(n)) for n in LENGTHS]
    packed = exact.logprobs(trained, torch.cat(parts), LENGTHS, temperature=1.5)
    scores = engine.score([p.tolist() for p in parts[1:]], temperature=1.5)
    for found, expected in zip(scores, packed.split(LENGTHS)[1:], strict=True):
        assert found == expected[:-1].tolist()


def test_it_is_the_same_model(model, alone):
    """Near-tie rule against the ordinary engine: log probabilities within 1e-4."""
    plain = Engine(model, max_batch=1, stop_ids=())
    for n in (1, 125):
        ids = [*alone[n].prompt_ids, *alone[n].ids]
        for a, b in zip(
            plain.score([ids], temperature=0.8)[0][n - 1 :], alone[n].logprobs, strict=True
        ):
            assert math.isclose(a, b, rel_tol=0, abs_tol=1e-4)


def test_filtered_tokens_keep_the_samplers_log_probability(model):
    engine = Engine(model, stop_ids=(), deterministic=True)
    (completion,) = engine.generate([prompt(9)], SamplingParams(top_k=1, max_tokens=3, seed=1))
    assert completion.logprobs == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("option", [{"prefix_cache": True}, {"prefill_tokens": 63}])
def test_what_would_break_it_is_refused(model, option):
    with pytest.raises(InputError, match=r"deterministic|prefill_tokens"):
        Engine(model, deterministic=True, **option)
