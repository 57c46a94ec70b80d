"""Flags: every shipped recipe takes them, and errors are one line."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from nautiloid.cli.flags import condense, override, parse_known
from nautiloid.cli.recipe_verb import RunOptions
from nautiloid.core.config import Recipe, from_json, to_json
from nautiloid.core.errors import InputError
from nautiloid.core.recipes import load_recipe, recipe_names
from nautiloid.recipes.pretrain import debug as pretrain
from nautiloid.train.pretrain import PretrainRecipe

PRESETS = ("recipe", "debug")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_survives_flags_and_record(name: str, preset: str) -> None:
    recipe = load_recipe(name, preset)
    assert override(recipe, [], prog="x", description="") == recipe
    assert from_json(Recipe, json.loads(json.dumps(to_json(recipe)))) == recipe


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_sums_itself_up(name: str, preset: str) -> None:
    assert all(isinstance(v, str) for v in load_recipe(name, preset).summary().values())


def change(*flags: str) -> PretrainRecipe:
    return override(pretrain.debug(), flags, prog="x", description="")


def test_flags_reach_every_kind_of_field() -> None:
    recipe = change(
        *("--trainer.num-steps", "7", "--trainer.optim.lr", "0.5", "--seed", "3"),
        *("--trainer.optim.betas", "0.5", "0.6", "--trainer.optim.trainable", "a", "b"),
        *("--model.hidden-size", "64", "--model.blocks.M.chunk-size", "16"),
        *("--model.tie-word-embeddings", "True", "--data.phases.0.parts.0.weight", "2"),
    )
    assert recipe.trainer.num_steps == 7
    assert recipe.trainer.optim.betas == (0.5, 0.6)
    assert recipe.trainer.optim.trainable == ("a", "b")
    assert recipe.seed == 3
    assert recipe.model is not None
    assert recipe.model.hidden_size == 64
    assert to_json(recipe.model.blocks["M"])["chunk_size"] == 16
    assert recipe.model.tie_word_embeddings
    assert recipe.data.phases[0].parts[0].weight == 2


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (
            ("--trainer.num-stepz", "3"),
            "--trainer.num-stepz: unknown option; did you mean --trainer.num-steps?",
        ),
        (("--trainer.num-steps", "x"), "--trainer.num-steps: 'x': use an integer"),
        (("--trainer.optim.lr", "x"), "--trainer.optim.lr: 'x': use a number"),
        (("--trainer.num-steps",), "--trainer.num-steps: give it a value"),
        (("--model.dtype", "int8"), "--model.dtype: 'int8': use one of 'float32', 'bfloat16'"),
        (("--model.tie-word-embeddings", "perhaps"), "use one of"),
        (("--model.hidden-size", "0"), "hidden_size: 0: use at least 1"),
        (("--trainer.num-steps", "0"), "trainer.num_steps: 0: use at least 1"),
        (("--trainer.schedule.warmup-steps", "9"), "trainer.schedule.warmup_steps: 9: at most"),
        (("stray",), "stray: unknown option"),
    ],
)
def test_a_wrong_flag_is_one_line(flags: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError) as caught:
        change(*flags)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@dataclass(frozen=True)
class Narrow:
    a_field_with_a_name_that_is_wider_than_the_terminal: int = 1


def test_a_narrow_terminal_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    with pytest.raises(InputError, match=r"'x': use an integer"):
        override(
            Narrow(),
            ["--a-field-with-a-name-that-is-wider-than-the-terminal", "x"],
            prog="x",
            description="",
        )


def test_a_field_of_the_recipe_is_named_without_its_class() -> None:
    with pytest.raises(InputError, match=r"^init: x: give either init"):
        change("--init", "x")


def test_own_options_are_told_from_those_of_the_recipe() -> None:
    argv = ["--trainer.num-steps", "3", "--preset", "debug", "--dry-run", "--seed", "-1"]
    options, rest = parse_known(RunOptions, argv, prog="x")
    assert (options.preset, options.dry_run, options.out) == ("debug", True, None)
    assert rest == ["--trainer.num-steps", "3", "--seed", "-1"]


def test_an_unknown_box_is_still_one_line() -> None:
    assert condense("") == "the arguments are wrong"
    ascii_box = " New kind of error \n ------ \n  something  \n  ------\n  For full helptext \n"
    assert condense(ascii_box) == "something"
    assert (
        condense("+- New kind of error -+\n| something |\n| happened |\n+----+")
        == "something happened"
    )
