"""The run folder: opening, resuming, refusing, stopping."""

from __future__ import annotations

import json
import logging
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from nautiloid.core.config import Recipe
from nautiloid.core.errors import InputError
from nautiloid.core.files import read_json, write_json
from nautiloid.core.run import Run, load_run, read_recipe
from nautiloid.recipes.pretrain import debug as pretrain


@dataclass(frozen=True, kw_only=True)
class Plain(Recipe):
    size: int = 1


def test_a_run_records_what_it_is(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", Plain(name="x", size=3))
    assert not run.resumed
    assert not run.is_done
    assert read_json(run.path / "config.json")["recipe"] == {"name": "x", "seed": 0, "size": 3}
    facts = read_json(run.path / "env.json")
    assert {"python", "platform", "cores", "versions", "commit", "command"} <= set(facts)


def test_the_same_settings_resume(tmp_path: Path) -> None:
    Run.open(tmp_path, Plain(name="x"))
    run = Run.open(tmp_path, Plain(name="x"))
    assert run.resumed
    run.finish(loss=1.5)
    assert run.is_done
    assert run.facts() == {"loss": 1.5}


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    Run.open(tmp_path, Plain(name="x", size=1))
    with pytest.raises(InputError, match="holds a run with another size: choose another --out"):
        Run.open(tmp_path, Plain(name="x", size=2))


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty and not a run"):
        Run.open(tmp_path, Plain(name="x"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["thesis.txt"]


def test_a_recorded_recipe_runs_again(tmp_path: Path) -> None:
    recipe = pretrain.debug()
    Run.open(tmp_path, recipe)
    assert load_run(tmp_path).recipe == recipe


def test_a_record_of_another_schema_is_refused(tmp_path: Path) -> None:
    Run.open(tmp_path, pretrain.debug())
    data = read_json(tmp_path / "config.json")
    write_json(tmp_path / "config.json", data | {"schema": 99})
    with pytest.raises(InputError, match="schema: 99: this version reads schema 1"):
        read_recipe(tmp_path / "config.json")
    write_json(tmp_path / "config.json", {"model_type": "qwen3"})
    with pytest.raises(InputError, match=r"not the config\.json of a run"):
        read_recipe(tmp_path / "config.json")


def test_the_seed_of_the_recipe_is_the_root(tmp_path: Path) -> None:
    one = Run.open(tmp_path / "a", Plain(name="x", seed=5))
    two = Run.open(tmp_path / "b", replace(Plain(name="y"), seed=5))
    assert one.seed == two.seed
    assert one.seed.child("loader") != one.seed


def test_sigterm_asks_to_stop_and_the_handler_goes_away(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run = Run.open(tmp_path, Plain(name="x"))
    with run.active():
        assert not run.should_stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert run.should_stop.is_set()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_interrupt_leaves_at_once(tmp_path: Path) -> None:
    run = Run.open(tmp_path, Plain(name="x"))

    def interrupted_twice() -> None:
        with run.active():
            os.kill(os.getpid(), signal.SIGINT)
            assert run.should_stop.is_set()
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupted_twice()


def test_a_failure_leaves_its_traceback_in_the_log(tmp_path: Path) -> None:
    run = Run.open(tmp_path, Plain(name="x"))

    def failing() -> None:
        with run.active():
            logging.getLogger("nautiloid.test").info("working")
            raise InputError("data", "corpus.jsonl", "not there")

    with pytest.raises(InputError):
        failing()
    lines = [json.loads(line) for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert lines[0]["message"] == "working"
    assert "InputError: data: corpus.jsonl: not there" in lines[-1]["traceback"]
