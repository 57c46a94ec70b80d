"""The surface of the command line: verbs, options, errors. A change here is a change for users."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from nautiloid.cli.main import VERBS, main
from nautiloid.core.recipes import recipe_names

RUN = ("--preset", "--out", "--dry-run", "--profile", "--verbose")
SURFACE = {
    "quickstart": RUN,
    "curate": (*RUN, "--input", "--benchmarks", "--executor", "--processes"),
    "pretrain": (*RUN, "--data"),
    "sft": RUN,
    "distill": RUN,
    "chat": (
        "--thinking",
        "--budget",
        "--effort",
        "--system",
        "--temperature",
        "--top-p",
        "--max-tokens",
        "--seed",
        "--input",
        "--output",
        "--max-batch",
        "--device",
    ),
    "eval": RUN,
    "inspect": ("--context", "--dtype", "--tensors"),
    "convert": ("--out", "--to", "--dtype", "--stacked-experts", "--max-shard-gb"),
    "report": ("--out", "--title"),
}


def test_the_verbs_are_these() -> None:
    assert list(VERBS) == list(SURFACE)


@pytest.mark.parametrize("verb", SURFACE)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main([verb, "--help"])
    except SystemExit as leave:
        status = leave.code
    assert not status
    text = capsys.readouterr().out
    assert text.startswith(f"usage: nautiloid {verb}")
    assert "examples:" in text
    shown = {
        word.strip(",.()") for word in text.split() if word.strip("-") and word.startswith("--")
    }
    examples = {
        word
        for line in text.splitlines()
        if line.startswith("  nautiloid")
        for word in line.split()
    }
    assert shown - examples - {"--help", "--dotted.field"} - set(SURFACE[verb]) == set()
    assert set(SURFACE[verb]) <= shown


def test_merge_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        main(["convert", "merge", "--help"])
    assert not leave.value.code
    assert "--weights" in capsys.readouterr().out


def test_every_recipe_file_has_its_presets() -> None:
    for name in recipe_names():
        module = importlib.import_module(f"nautiloid.recipes.{name.replace('/', '.')}")
        assert callable(module.recipe), name
        assert callable(module.debug), name
        assert (module.__doc__ or "").strip(), name


def test_help_needs_no_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in ([], ["--help"], ["-h"]):
        assert main(argv) == 0
        text = capsys.readouterr().out
        assert all(f"  {verb} " in text for verb in VERBS)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["pretrian"], "verb: pretrian: did you mean 'pretrain'?"),
        (["pretrain"], "name a recipe: pretrain/debug"),
        (["pretrain", "pretrain/debg"], "recipe: pretrain/debg: did you mean 'pretrain/debug'?"),
        (["pretrain", "none.py"], "none.py: no such recipe file"),
        (["pretrain", "none.json"], "none.json: no such file"),
        (["pretrain", "broken.py"], "broken.py: line 1"),
        (["pretrain", "three.py"], "three.py: recipe(): int: it must return a Recipe"),
        (["pretrain", "sft/debug"], "run it with: nautiloid sft sft/debug"),
        (
            ["pretrain", "pretrain/debug", "--preset", "huge"],
            "--preset: huge: pretrain/debug has recipe, debug",
        ),
        (
            ["pretrain", "pretrain/debug", "--trainer.num-steps", "many"],
            "--trainer.num-steps: 'many': use an integer",
        ),
        (
            ["pretrain", "pretrain/debug", "--trainer.nm-steps", "1"],
            "did you mean --trainer.num-steps?",
        ),
        (
            ["pretrain", "pretrain/debug", "--model.pattern", "MEX"],
            "pattern: X: unknown letter at layer 2",
        ),
        (
            ["pretrain", "pretrain/debug", "--model.dtype", "int8"],
            "--model.dtype: 'int8': use one of",
        ),
        (
            ["pretrain", "pretrain/debug", "--preset", "debug", "--out", "taken"],
            "taken: not empty and not a run",
        ),
        (["curate"], "name a recipe: curate/cc_math"),
        (["curate", "curate/cc_math"], "reader.paths: name at least one file"),
        (["curate", "curate/cc_math", "--input", "nowhere"], "nowhere: no such file"),
        (["curate", "curate/cc_math", "--input", "empty"], "empty: "),
        (["curate", "curate/cc_math", "--executor", "lokal"], "did you mean 'local'?"),
        (["curate", "curate/cc_math", "--processes", "0"], "executor.processes: 0: use at least 1"),
        (["curate", "sft/debug"], "run it with: nautiloid sft sft/debug"),
        (["curate", "curate/cc_math", "--input", "pages", "--out", "taken"], "taken: not empty"),
        (["pretrain", "pretrain/debug", "--data", "nowhere"], "nowhere: no such file"),
        (["pretrain", "pretrain/debug", "--data", "taken"], "mixture.json: no such file"),
        (["inspect", "nemotron-9-nano"], "preset: nemotron-9-nano: did you mean"),
        (["inspect", "--context", "0"], "--context: 0: use at least 1"),
        (["inspect", "taken"], "taken: neither a model nor a run"),
        (["convert", "taken"], "--out: missing"),
        (["convert", "nowhere", "--out", "x"], "nowhere: no model there"),
        (["convert", "merge", "nowhere", "--out", "x"], "nowhere: no model there"),
        (["chat", "nowhere"], "nowhere: no model there"),
        (["eval", "nowhere"], "recipe: nowhere"),
        (["report", "nowhere"], "nowhere: no such folder"),
        (["report", "taken"], "taken: no run in it"),
        (["report"], "nautiloid report: name a run folder"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    argv: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("def recipe(: pass")
    (tmp_path / "three.py").write_text("def recipe(): return 3")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "index.html").write_text("<p>mine")
    before = sorted(tmp_path.rglob("*"))
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert says in err
    assert sorted(p for p in tmp_path.rglob("*") if "__pycache__" not in p.parts) == before


def test_verbose_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "nemotron-9-nano", "--verbose"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: ")
