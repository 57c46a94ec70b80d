"""What an engine refuses, with field, value and remedy, while the requests that run go on untouched."""

import math

import pytest
import torch

from nautiloid.core.errors import InputError
from nautiloid.core.sampling import SamplingParams, settings
from nautiloid.core.types import Message
from nautiloid.engine.engine import Engine

GREEDY = SamplingParams(temperature=0.0, max_tokens=24)
CHAT = [Message("user", "What is 1 + 2?")]


@pytest.fixture(scope="module")
def engine(model, tokenizer):
    return Engine(model, tokenizer=tokenizer, max_batch=4, stop_ids=())


@pytest.fixture(scope="module")
def undisturbed(engine):
    return engine.generate([CHAT], GREEDY)[0].ids


def submit(prompt=CHAT, **given):
    return lambda engine: engine.submit(prompt, settings(given))


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (submit([40] * 512), r"^prompt: 512 tokens: use fewer than 512$"),
        (submit([40] * 9000), r"^prompt: 9000 tokens: use fewer than 512$"),
        (submit([]), r"^prompt: is empty; give at least one token$"),
        (submit([352]), r"^prompt: 352: ids are 0 to 351$"),
        (submit([-1]), r"^prompt: -1: ids are 0 to 351$"),
        (submit(temprature=1), r"^sampling.temprature: unknown field; did you mean 'temperature'"),
        (submit(temperature=math.nan), r"^sampling.temperature: nan: use a finite number$"),
        (submit(n=10**12), r"^sampling.n: 1000000000000: use 1 to 16384$"),
        (submit(n=2), r"^sampling.n: 2: submit and stream take one; use generate$"),
        (submit(thinking_budget_tokens=-5), r"^sampling.thinking_budget_tokens: -5: use None or"),
        (submit(max_tokens=0), r"^sampling.max_tokens: 0: use at least 1$"),
        (submit(regex="[a-"), r"^sampling.regex: \[a-: .*unclosed character class"),
        (submit(json_schema={"type": 7}), r"^sampling.json_schema: .*type"),
        (submit(json_schema="{}", regex="a"), r"^sampling.regex: give it or json_schema, not both"),
        (submit(grammar="start: undefined_rule"), r"^sampling.grammar: .*undefined_rule"),
        (submit(logit_bias={"400": 1}), r"^sampling.logit_bias: 400: ids are 0 to 351$"),
        (submit(stop_token_ids=[-2]), r"^sampling.stop_token_ids: -2: ids are 0 to 351$"),
        (submit(stop=["x"] * 99), r"^sampling.stop: 99 entries: use at most 16$"),
        (lambda engine: engine.score([[40] * 513]), r"^score: 513 tokens: give 2 to 512 tokens$"),
        (
            lambda engine: engine.load_weights({"norm_f.weight": torch.zeros(3)}.items(), 1),
            r"^load_weights: 1 requests run: pause first$",
        ),
    ],
)
def test_the_others_go_on(engine, undisturbed, bad, match):
    running = engine.submit(CHAT, GREEDY)
    for _ in range(5):
        engine.step()
    with pytest.raises(InputError, match=match):
        bad(engine)
    done = {}
    while not done:
        done = engine.step()
    assert done[running].ids == undisturbed
    assert not engine.requests


def test_weights_of_another_shape_change_nothing(model, tokenizer):
    engine = Engine(model, tokenizer=tokenizer, stop_ids=())
    whole = engine.generate([CHAT], GREEDY)[0]
    running = engine.submit(CHAT, GREEDY)
    engine.step()
    engine.pause()
    wrong = dict(model.state_dict()) | {"norm_f.weight": torch.zeros(3)}
    with pytest.raises(
        InputError, match=r"^weights: norm_f.weight: \(3,\): expected shape \(64,\)"
    ):
        engine.load_weights(wrong.items(), 1)
    engine.resume()
    done = {}
    while not done:
        done = engine.step()
    assert done[running].ids == whole.ids
    assert done[running].version == 0


def test_a_prompt_longer_than_the_cache(model, tokenizer):
    engine = Engine(model, tokenizer=tokenizer, max_batch=1, memory_bytes=700_000, stop_ids=())
    most = engine.max_context_tokens
    assert 16 < most < model.config.max_position_embeddings
    with pytest.raises(InputError, match=rf"^prompt: {most} tokens: use fewer than {most}$"):
        engine.generate([[40] * most], GREEDY)
    done = engine.generate([[40] * (most - 1)], GREEDY)[0]
    assert len(done.ids) == 1
    assert done.finish_reason == "length"


def test_a_bad_one_among_many_starts_none(engine):
    with pytest.raises(InputError, match=r"sampling\.regex"):
        engine.generate([CHAT, CHAT], [GREEDY, SamplingParams(regex="(")])
    assert not engine.requests
