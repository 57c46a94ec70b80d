"""Configs to JSON and back, and what is refused on the way."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nautiloid.core.config import Recipe, from_json, to_json
from nautiloid.core.errors import InputError
from nautiloid.core.types import SamplingParams
from nautiloid.model.blocks.attention.config import AttentionConfig, RopeConfig
from nautiloid.model.blocks.config import BlockConfig
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.config import ModelConfig
from nautiloid.model.presets import preset, preset_names


@dataclass(frozen=True, kw_only=True)
class Constant:
    kind: Literal["constant"] = "constant"
    value: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Ramp:
    kind: Literal["ramp"] = "ramp"
    start: float = 0.0
    stop: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    name: str
    count: int = 1
    rate: float = 0.5
    is_on: bool = False
    mode: Literal["a", "b"] = "a"
    pair: tuple[float, float] = (0.0, 1.0)
    names: tuple[str, ...] = ()
    schedule: Constant | Ramp = field(default_factory=Constant)
    by_layer: dict[int, Constant] = field(default_factory=dict)
    limit: int | None = None


def through_json(value: object) -> object:
    return json.loads(json.dumps(to_json(value)))


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_survives_the_round_trip(name: str) -> None:
    config = preset(name)
    assert from_json(ModelConfig, through_json(config)) == config


@settings(max_examples=50)
@given(
    st.builds(
        Settings,
        name=st.text(max_size=5),
        count=st.integers(),
        rate=st.floats(allow_nan=False),
        is_on=st.booleans(),
        pair=st.tuples(st.floats(0, 1), st.floats(0, 1)),
        names=st.lists(st.text(max_size=3), max_size=3).map(tuple),
        schedule=st.sampled_from([Constant(value=2.0), Ramp(stop=3.0)]),
        by_layer=st.dictionaries(st.integers(0, 9), st.just(Constant(value=4.0)), max_size=2),
        limit=st.none() | st.integers(),
    )
)
def test_any_settings_survive_the_round_trip(value: Settings) -> None:
    assert from_json(Settings, through_json(value)) == value


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"cuont": 2}, "cuont", "did you mean 'count'"),
        ({"zzz": 2}, "zzz", "Settings has name, count"),
        ({"count": "2"}, "count", "expected a valid integer"),
        ({"count": 2.5}, "count", "expected a valid integer"),
        ({"count": True}, "count", "expected a valid integer"),
        ({"rate": "fast"}, "rate", "expected a valid number"),
        ({"is_on": 1}, "is_on", "expected a valid boolean"),
        ({"mode": "c"}, "mode", "'a' or 'b'"),
        ({"pair": [1.0]}, "pair", "expected 2 values"),
        ({"names": "abc"}, "names", "expected a list"),
        ({"names": [1]}, "names.0", "expected a valid string"),
        ({"schedule": {"kind": "ramp", "begin": 1}}, "schedule.begin", "unknown field"),
        ({"by_layer": {"x": {}}}, "by_layer", "whole numbers"),
        ({"by_layer": {"1": {"valu": 1.0}}}, "by_layer.1.valu", "did you mean 'value'"),
        ({"schedule": []}, "schedule", "expected an object"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, object], field: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        from_json(Settings, {"name": "x", **change})
    assert caught.value.field == field
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InputError, match="name: missing; Settings needs it"):
        from_json(Settings, {})


def test_open_union_travels_as_kind() -> None:
    block = AttentionConfig(rope=RopeConfig(rope_theta=1e6))
    data = to_json(block)
    assert data["kind"] == "attention"
    assert from_json(BlockConfig, data) == block


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"kind": "atention"}, "did you mean 'attention'"),
        ({"kind": "../x"}, "use one of attention"),
        ({"head_dim": 4}, "name the block"),
        ({"kind": "attention", "head_dims": 4}, "did you mean 'head_dim'"),
        ("attention", "expected an object"),
    ],
)
def test_a_wrong_kind_is_refused(data: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        from_json(BlockConfig, data, "block")


def test_infinity_survives() -> None:
    config = preset("debug")
    block = config.blocks["M"]
    assert isinstance(block, MambaConfig)
    assert block.time_step_limit[1] == math.inf
    assert from_json(ModelConfig, through_json(config)).blocks["M"] == block


def test_validation_speaks_through() -> None:
    data = to_json(SamplingParams()) | {"top_p": 1.5}
    with pytest.raises(InputError, match=r"sampling.top_p: 1.5: use a number above 0"):
        from_json(SamplingParams, data)


def test_settings_hold_plain_values_only() -> None:
    with pytest.raises(InputError, match="settings hold numbers"):
        to_json({"x": object()})


@pytest.mark.parametrize("letter", ["X", "m"])
def test_an_unknown_pattern_letter_is_named(letter: str) -> None:
    config = preset("debug")
    with pytest.raises(InputError, match=f"pattern: {letter}: unknown letter at layer 0"):
        replace(config, pattern=letter + config.pattern)


def test_a_recipe_without_run_says_so() -> None:
    with pytest.raises(TypeError, match="does not define run"):
        Recipe(name="x").run(None)
