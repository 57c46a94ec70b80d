import math

import pytest

from nautiloid.core.config import from_json, to_json
from nautiloid.core.errors import InputError
from nautiloid.core.sampling import MOST_BIASES, SamplingParams, settings


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"temperature": math.nan}, "sampling.temperature: nan: use a finite number"),
        ({"temperature": math.inf}, "sampling.temperature: inf: use a finite number"),
        ({"temperature": -0.1}, "sampling.temperature: -0.1: use 0"),
        ({"temperature": "hot"}, "sampling.temperature: 'hot': expected a number"),
        ({"temperature": True}, "sampling.temperature: True: expected a number"),
        ({"top_p": 0}, "sampling.top_p: 0: use a number above 0"),
        ({"top_p": math.nan}, "sampling.top_p: nan"),
        ({"top_k": 1.5}, "sampling.top_k: 1.5: expected an integer"),
        ({"min_p": 1}, "sampling.min_p: 1: use a number from 0 to below 1"),
        ({"presence_penalty": 3}, "sampling.presence_penalty: 3: use -2 to 2"),
        ({"frequency_penalty": -2.5}, "sampling.frequency_penalty: -2.5"),
        ({"repetition_penalty": 0}, "sampling.repetition_penalty: 0: use a number above 0"),
        ({"repetition_penalty": math.nan}, "sampling.repetition_penalty: nan"),
        ({"max_tokens": 0}, "sampling.max_tokens: 0: use at least 1"),
        ({"min_tokens": -1}, "sampling.min_tokens: -1: use at least 0"),
        ({"min_tokens": 9, "max_tokens": 8}, "sampling.min_tokens: 9: use at most max_tokens, 8"),
        ({"n": 0}, "sampling.n: 0: use 1 to 16384"),
        ({"n": 10**9}, "sampling.n: 1000000000: use 1 to 16384"),
        ({"logprobs": 21}, "sampling.logprobs: 21: use 0 to 20"),
        ({"seed": 0.5}, "sampling.seed: 0.5: expected an integer"),
        ({"thinking_budget_tokens": -1}, "sampling.thinking_budget_tokens: -1: use None or"),
        ({"thinking_budget_cue": True}, "sampling.thinking_budget_cue: True: goes with"),
        ({"stop": "end"}, "sampling.stop: 'end': give a list"),
        ({"stop": ("",)}, "sampling.stop: '': an empty stop string"),
        ({"stop": (3,)}, "sampling.stop: 3: give a list of texts"),
        ({"stop": ("x" * 300,)}, r"sampling.stop: x+\.\.\.: use at most 256 characters"),
        ({"stop": ("x",) * 17}, "sampling.stop: 17 entries: use at most 16"),
        ({"stop_token_ids": tuple(range(129))}, "sampling.stop_token_ids: 129 entries"),
        ({"stop_token_ids": (1.0,)}, "sampling.stop_token_ids: 1.0: expected an integer"),
        ({"ignore_stop": True, "stop": ("x",)}, "sampling.ignore_stop: True: leave it out"),
        ({"logit_bias": {3: 101}}, "sampling.logit_bias.3: 101: use -100 to 100"),
        ({"logit_bias": {3: math.nan}}, "sampling.logit_bias.3: nan"),
        ({"logit_bias": {"a": 1}}, "sampling.logit_bias: 'a': expected an integer"),
        ({"logit_bias": [1]}, r"sampling.logit_bias: \[1\]: map token ids to numbers"),
        (
            {"logit_bias": dict.fromkeys(range(MOST_BIASES + 1), 1)},
            "sampling.logit_bias: 1025 entries",
        ),
        ({"regex": "a", "choice": ("b",)}, "sampling.choice: give it or regex, not both"),
        ({"regex": 3}, "sampling.regex: 3: expected text"),
        ({"json_schema": 3}, "sampling.json_schema: 3: give an object or its text"),
        ({"choice": ("",)}, "sampling.choice: '': leave the empty text out"),
        ({"regex": "a", "min_tokens": 2}, "sampling.min_tokens: 2: leave it out"),
        ({"regex": "a", "ignore_stop": True}, "sampling.ignore_stop: True: leave it out"),
    ],
)
def test_what_makes_no_sense_is_refused_with_field_value_and_remedy(given, match):
    with pytest.raises(InputError, match=match):
        SamplingParams(**given)


def test_settings_survive_json():
    params = SamplingParams(
        temperature=0.5,
        stop=("a", "b"),
        logit_bias={3: -100.0, 7: 2.5},
        json_schema={"type": "object", "kind": "x"},
    )
    assert from_json(SamplingParams, to_json(params)) == params


def test_settings_over_a_base():
    base = SamplingParams(temperature=0.5, stop=("a",), max_tokens=7)
    read = settings({"temperature": 0, "stop": "end", "logit_bias": {"5": 1}}, base)
    assert read == SamplingParams(temperature=0, stop=("end",), logit_bias={5: 1}, max_tokens=7)
    assert settings({}, base) == base


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"temprature": 1}, "sampling.temprature: unknown field; did you mean 'temperature'"),
        ({"max_tokens": "many"}, "sampling.max_tokens: many: expected a valid integer"),
        ({"temperature": math.nan}, "sampling.temperature: nan"),
        ({"stop": [1]}, r"sampling.stop.0: 1: expected a valid string"),
    ],
)
def test_unknown_and_ill_typed_settings_are_refused(given, match):
    with pytest.raises(InputError, match=match):
        settings(given)
