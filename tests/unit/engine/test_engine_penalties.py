"""Penalties, biases and least lengths, against numbers by hand and transformers where it has the same."""

import random

import pytest
import torch
from tests.suites.decoding import full_logits
from transformers import (
    MinLengthLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
)

from nautiloid.core.types import SamplingParams
from nautiloid.engine.engine import Engine
from nautiloid.engine.penalties import Penalties, penalize
from nautiloid.engine.request import Request
from nautiloid.engine.shaping import Shaper

CPU = torch.device("cpu")


def request(number, prompt, ids, **settings):
    return Request(
        id=number,
        prompt_ids=tuple(prompt),
        params=SamplingParams(**settings),
        seed=0,
        stop_ids=frozenset({1}),
        max_tokens=99,
        is_shaped=True,
        ids=list(ids),
    )


def shaped(requests, logits_BV):
    logits_BV = logits_BV.clone()
    Shaper(CPU).apply(logits_BV, requests)
    return logits_BV


def reference(logits_V, prompt, ids, params):
    """The definitions, one id at a time."""
    out = logits_V.clone()
    for token_id in range(len(out)):
        if len(ids) < params.min_tokens and token_id == 1:
            out[token_id] = -torch.inf
        out[token_id] += params.logit_bias.get(token_id, 0)
        if token_id in prompt or token_id in ids:
            factor = params.repetition_penalty
            out[token_id] = out[token_id] / factor if out[token_id] > 0 else out[token_id] * factor
        out[token_id] -= params.frequency_penalty * ids.count(token_id)
        out[token_id] -= params.presence_penalty * (token_id in ids)
    return out


def test_numbers_by_hand():
    logits = torch.tensor([[2.0, -2.0, 5.0, 1.0]])
    one = request(
        0,
        [0, 1],
        [2, 2, 1],
        repetition_penalty=2.0,
        frequency_penalty=0.5,
        presence_penalty=0.25,
        logit_bias={3: -100, 0: 1},
    )
    # (2 + 1) / 2; -2 * 2 - 0.5 - 0.25; 5 / 2 - 2 * 0.5 - 0.25; 1 - 100
    assert shaped([one], logits).tolist() == [[1.5, -4.75, 1.25, -99.0]]


def test_random_batches_equal_the_reference():
    draw, generator = random.Random(0), torch.Generator().manual_seed(0)
    for _ in range(20):
        made = []
        for number in range(draw.randint(1, 6)):
            settings = {
                "repetition_penalty": draw.choice([1.0, 1.3, 0.8]),
                "frequency_penalty": draw.choice([0.0, 0.7]),
                "presence_penalty": draw.choice([0.0, -0.4]),
                "logit_bias": draw.choice([{}, {3: 4.0, 17: -100.0}]),
                "min_tokens": draw.choice([0, 5]),
            }
            prompt = [draw.randrange(40) for _ in range(draw.randint(1, 90))]
            ids = [draw.randrange(40) for _ in range(draw.randint(0, 9))]
            made.append(request(number, prompt, ids, **settings))
        logits = torch.randn(len(made), 150, generator=generator)
        for row, (one, out) in enumerate(zip(made, shaped(made, logits), strict=True)):
            expected = reference(logits[row], one.prompt_ids, one.ids, one.params)
            torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-6)


def test_the_same_as_transformers():
    logits = torch.randn(1, 60, generator=torch.Generator().manual_seed(1))
    prompt, ids = [5, 6, 7, 6], [9, 5, 11]
    whole = torch.tensor([[*prompt, *ids]])
    theirs = RepetitionPenaltyLogitsProcessor(1.7)(whole, logits.clone())
    assert torch.equal(shaped([request(0, prompt, ids, repetition_penalty=1.7)], logits), theirs)
    theirs = SequenceBiasLogitsProcessor({(4,): 2.5, (9,): -7.0})(whole, logits.clone())
    biased = shaped([request(0, prompt, ids, logit_bias={4: 2.5, 9: -7.0})], logits)
    assert torch.equal(biased, theirs)
    for least in (3, 4):
        theirs = MinLengthLogitsProcessor(least + len(prompt), 1)(whole, logits.clone())
        assert torch.equal(shaped([request(0, prompt, ids, min_tokens=least)], logits), theirs)


def test_tables_follow_requests_step_by_step():
    """Requests come, grow past the first width of the tables, and go; nobody sees another's tokens."""
    draw, generator = random.Random(3), torch.Generator().manual_seed(3)
    penalties, running, number = Penalties(CPU), [], 0
    for _ in range(120):
        if draw.random() < 0.3 and len(running) < 6:
            settings = {"frequency_penalty": 0.3, "repetition_penalty": draw.choice([1.0, 1.2])}
            prompt = [draw.randrange(200) for _ in range(draw.randint(1, 120))]
            running.append(request(number, prompt, [], **settings))
            number += 1
        if draw.random() < 0.1 and running:
            penalties.forget(running.pop(draw.randrange(len(running))).id)
        if not running:
            continue
        logits = torch.randn(len(running), 200, generator=generator)
        out = logits.clone()
        penalties.apply(out, list(enumerate(running)))
        for row, one in enumerate(running):
            expected = reference(logits[row], one.prompt_ids, one.ids, one.params)
            torch.testing.assert_close(out[row], expected, atol=1e-5, rtol=1e-6)
            one.ids.append(draw.randrange(200))
        draw.shuffle(running)
    for one in running:
        penalties.forget(one.id)
    assert not penalties.seen
    assert sorted(penalties.free) == list(range(len(penalties.ids_NK)))


def test_equal_entries_are_penalized_once():
    logits = torch.full((1, 4), 2.0)
    ids, counts = torch.tensor([[2, 2, 2]]), torch.tensor([[1, 1, 1]])
    one = torch.ones(1)
    penalize(logits, torch.tensor([0]), ids, counts, one, one, one * 0)
    assert logits.tolist() == [[2.0, 2.0, 1.0, 2.0]]


def test_an_engine_without_such_requests_never_shapes(model, monkeypatch):
    engine = Engine(model, stop_ids=())

    def shape(*_):
        raise AssertionError("nobody asked for it")

    monkeypatch.setattr(engine.sampler.shaper, "apply", shape)
    engine.generate([[40]] * 3, SamplingParams(max_tokens=3, temperature=0.7, top_p=0.9))


def test_logprobs_are_those_after_penalties_and_raw_ones_before(model):
    engine = Engine(model, max_batch=4, stop_ids=())
    settings = {
        "temperature": 0.8,
        "max_tokens": 10,
        "seed": 4,
        "repetition_penalty": 1.4,
        "frequency_penalty": 0.4,
        "logprobs": 3,
    }
    plain, raw = engine.generate(
        [[50, 60]] * 2,
        [SamplingParams(**settings), SamplingParams(**settings, raw_logprobs=True)],
    )
    assert plain.ids == raw.ids
    logits = full_logits(model, [50, 60, *plain.ids])[1:-1]
    for i, (token_id, row) in enumerate(zip(plain.ids, logits, strict=True)):
        shaped_V = reference(row, (50, 60), list(plain.ids[:i]), SamplingParams(**settings))
        logprobs = (shaped_V / 0.8).log_softmax(-1)
        assert plain.logprobs[i] == pytest.approx(float(logprobs[token_id]), abs=5e-5)
        assert raw.logprobs[i] == pytest.approx(float(row.log_softmax(-1)[token_id]), abs=5e-5)
        assert max(raw.top_logprobs[i].values()) == pytest.approx(
            float(row.log_softmax(-1).max()), abs=5e-5
        )
    assert not engine.sampler.shaper.penalties.seen


def test_a_penalty_changes_its_own_request_only(model):
    engine = Engine(model, max_batch=4, stop_ids=())
    greedy = {"temperature": 0.0, "max_tokens": 40}
    free = engine.generate([[44]], SamplingParams(**greedy))[0]
    mixed = [
        SamplingParams(**greedy, presence_penalty=2.0, frequency_penalty=2.0),
        SamplingParams(**greedy),
        SamplingParams(**greedy, logit_bias={free.ids[0]: -100}),
    ]
    varied, same, other = engine.generate([[44]] * 3, mixed)
    assert same.ids == free.ids
    assert len(set(varied.ids)) > len(set(free.ids))
    assert free.ids[0] not in other.ids


def test_no_end_before_the_least_length(model, tokenizer):
    engine = Engine(model, tokenizer=tokenizer, max_batch=16)
    wild = {"temperature": 2.0, "max_tokens": 60, "seed": 1, "n": 16}
    free = engine.generate([[60, 61]], SamplingParams(**wild))
    held = engine.generate([[60, 61]], SamplingParams(**wild, min_tokens=30))
    assert min(len(c.ids) for c in free) < 30
    assert min(len(c.ids) for c in held) >= 30
    endless = engine.generate([[60, 61]], SamplingParams(**wild, ignore_stop=True))
    assert [len(c.ids) for c in endless] == [60] * 16


def test_stop_strings_wait_for_the_least_length(model, tokenizer):
    engine = Engine(model, tokenizer=tokenizer, stop_ids=())
    greedy = {"temperature": 0.0, "max_tokens": 30}
    free = engine.generate([[60, 61]], SamplingParams(**greedy))[0]
    stop = next(t for t in free.text if t.isalnum())
    short = engine.generate([[60, 61]], SamplingParams(**greedy, stop=(stop,)))[0]
    held = engine.generate([[60, 61]], SamplingParams(**greedy, stop=(stop,), min_tokens=12))[0]
    assert len(short.ids) < 12 <= len(held.ids)
    assert held.ids == free.ids[: len(held.ids)]
    assert stop in held.text
