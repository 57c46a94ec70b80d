"""The extraction experiment runs from pages to a verdict, goes on where it stopped, and says what is missing."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from nautiloid.core.errors import InputError
from nautiloid.core.run import Run
from nautiloid.recipes.repro import _jobs
from nautiloid.recipes.repro.cc_math import debug

pytest.importorskip("selectolax")


def test_from_pages_to_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    pytest.importorskip("trafilatura")
    recipe = debug()
    run = Run.open(tmp_path / "run", recipe)
    with caplog.at_level(logging.WARNING, "nautiloid.repro"):
        recipe.run(run)
    assert "arm lynx is left out: lynx is not installed" in caplog.text
    results = json.loads((run.path / "results.json").read_text())
    assert results["verdict"] in ("shape reproduced", "inconclusive", "not reproduced")
    assert run.facts()["verdict"] == results["verdict"]
    mixed = results["sets"]["mixed"]
    assert list(mixed["bits_per_byte"]) == ["dom", "trafilatura"]
    assert all(len(v) == 2 for v in mixed["bits_per_byte"]["dom"].values())
    assert set(mixed["differences"]["trafilatura"]) == {"math", "code", "text", "formulas", "prose"}
    assert results["corpus"]["pages"]["dom"]["tiny-pages"]["formulas"] > 0
    table = (run.path / "results.md").read_text()
    assert "| mathematics | trafilatura |" in table
    assert (run.path / "results.svg").read_text().endswith("</svg>\n")

    # a run that is cut off goes on: one training is made again, the others are left as they are
    before = (run.path / "mixed-0-dom" / "scores.json").stat().st_mtime_ns
    shutil.rmtree(run.path / "mixed-1-dom")
    (run.path / "done.json").unlink()
    recipe.run(Run.open(run.path, recipe))
    assert (run.path / "mixed-0-dom" / "scores.json").stat().st_mtime_ns == before
    again = json.loads((run.path / "results.json").read_text())
    assert again["sets"] == results["sets"]

    # its corpus serves another run, which needs no tool
    other = replace(recipe, corpus=str(run.path / "corpus"), seeds=0)
    assert other.present_arms() == ("dom", "trafilatura")
    (run.path / "corpus" / "held_out" / "math.jsonl.zst").write_bytes(b"")
    with pytest.raises(InputError, match="torn"):
        other.present_arms()


def test_a_missing_tool_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    with pytest.raises(InputError, match="lynx is not installed"):
        replace(debug(), skips_missing=False).run(Run.open(tmp_path / "run", debug()))
    with pytest.raises(InputError, match="word: use some of dom"):
        replace(debug(), arms=("dom", "word")).present_arms()


def test_jobs_are_runs_of_their_own(tmp_path: Path) -> None:
    recipe = replace(debug(), seeds=0, arms=("dom",))
    run = Run.open(tmp_path / "run", recipe)
    made = {name: replace(recipe, name=name) for name in ("one", "two")}
    _jobs.run_all(run, made, jobs=2)
    assert all(Run.open(run.path / name, recipe).is_done for name, recipe in made.items())

    failing = {"three": replace(recipe, name="three", corpus=str(tmp_path / "nowhere"))}
    with pytest.raises(InputError, match=r"three: status 2: see its log.txt"):
        _jobs.run_all(run, failing, jobs=2)
