"""Penalties, biases, structures and the sampler's bookkeeping on a GPU, against the same on a CPU."""

import random

import pytest
import torch

from nautiloid.core.types import SamplingParams
from nautiloid.data.tokenizer import Tokenizer
from nautiloid.engine.request import Request
from nautiloid.engine.sampler import Sampler
from nautiloid.engine.shaping import Shaper
from nautiloid.engine.thinking import ThinkingSpan

pytestmark = pytest.mark.gpu
if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

CPU, GPU = torch.device("cpu"), torch.device("cuda")
VOCABULARY = 1000


def requests(count, *, grammars=None):
    draw, made = random.Random(0), []
    for number in range(count):
        params = SamplingParams(
            temperature=draw.choice([0.0, 0.7, 1.0]),
            top_p=draw.choice([1.0, 0.8]),
            top_k=draw.choice([0, 20]),
            repetition_penalty=draw.choice([1.0, 1.3]),
            frequency_penalty=draw.choice([0.0, 0.5]),
            logit_bias=draw.choice([{}, {7: 5.0}]),
            min_tokens=draw.choice([0, 99]),
            logprobs=draw.choice([0, 3]),
            raw_logprobs=draw.choice([False, True]),
        )
        one = Request(
            id=number,
            prompt_ids=tuple(draw.randrange(VOCABULARY) for _ in range(30)),
            params=params,
            seed=number,
            stop_ids=frozenset({2}),
            max_tokens=200,
            is_shaped=draw.random() < 0.7,
            span=ThinkingSpan((13,), 0, lambda _: False) if draw.random() < 0.2 else None,
            ids=[draw.randrange(VOCABULARY) for _ in range(9)],
        )
        if grammars is not None and one.is_shaped and draw.random() < 0.5:
            one.grammar = grammars.state("regex", "[a-z]+[0-9]*")
        made.append(one)
    return made


def grammars():
    pytest.importorskip("llguidance")
    from nautiloid.engine.grammar import Grammars

    tokenizer = Tokenizer.train(["sort these: 3, 17 and 45"] * 40, 340)
    return Grammars(tokenizer, VOCABULARY, frozenset({2}))


def test_shaping_is_the_same_on_both():
    made = requests(24, grammars=grammars())
    logits = torch.randn(24, VOCABULARY)
    here, there = logits.clone(), logits.to(GPU)
    Shaper(CPU).apply(here, made)
    Shaper(GPU).apply(there, made)
    torch.testing.assert_close(there.cpu(), here, atol=1e-5, rtol=1e-5)


def test_picks_are_the_same_on_both():
    made = requests(32)
    logits = torch.randn(32, VOCABULARY) * 3
    here = Sampler(CPU).pick(logits.clone(), made)
    there = Sampler(GPU).pick(logits.to(GPU), made)
    for a, b in zip(here, there, strict=True):
        assert a.id == b.id
        assert b.logprob == pytest.approx(a.logprob, abs=1e-4)
        assert (a.top is None) == (b.top is None)
        if a.top is not None:
            assert b.top == pytest.approx(a.top, abs=1e-4)
