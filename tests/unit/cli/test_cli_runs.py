"""What a verb does around a recipe: its folder, its end, its failures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nautiloid.cli.main import main

RECIPE = '''
"""A recipe that only writes down that it ran."""
from dataclasses import dataclass, replace
from nautiloid.core.config import Recipe
from nautiloid.core.errors import InputError

@dataclass(frozen=True, kw_only=True)
class Inner:
    steps: int = 1

@dataclass(frozen=True, kw_only=True)
class Note(Recipe):
    inner: Inner = Inner()
    ends: str = "well"

    def summary(self):
        return {"steps": f"{self.inner.steps:,}"}

    def run(self, run):
        with (run.path / "ran.txt").open("a") as handle:
            handle.write(f"{self.inner.steps}\\n")
        if self.ends == "badly":
            raise InputError("corpus.jsonl", None, "no such file")
        if self.ends == "disk":
            raise FileNotFoundError(2, "No such file or directory", "shard-3.parquet")
        if self.ends == "early":
            run.should_stop.set()
            return
        run.finish(loss=1.25)

def recipe():
    return Note(name="note")

def debug():
    return replace(recipe(), name="tiny")
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "note.py").write_text(RECIPE)
    return tmp_path


def test_a_run_goes_to_its_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quickstart", "note.py", "--inner.steps", "3"]) == 0
    assert "1.25" in capsys.readouterr().out
    run = folder / "runs" / "note"
    assert (run / "ran.txt").read_text() == "3\n"
    assert json.loads((run / "done.json").read_text()) == {"loss": 1.25}
    assert json.loads((run / "config.json").read_text())["recipe"]["inner"] == {"steps": 3}


def test_a_preset_has_its_own_name(folder: Path) -> None:
    assert main(["quickstart", "note.py", "--preset", "debug"]) == 0
    assert (folder / "runs" / "tiny" / "done.json").is_file()


def test_a_finished_run_is_not_run_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main(["quickstart", "note.py", "--out", "here"]) == 0
    assert (folder / "here" / "ran.txt").read_text() == "1\n"
    assert "finished before: here" in capsys.readouterr().out


def test_other_settings_do_not_touch_a_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quickstart", "note.py", "--out", "here"]) == 0
    assert main(["quickstart", "note.py", "--out", "here", "--inner.steps", "2"]) == 2
    assert "here: holds a run with another inner.steps" in capsys.readouterr().err
    assert (folder / "here" / "ran.txt").read_text() == "1\n"


def test_a_stopped_run_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quickstart", "note.py", "--ends", "early"]) == 130
    assert "stopped early" in capsys.readouterr().out
    assert not (folder / "runs" / "note" / "done.json").exists()


@pytest.mark.parametrize(
    ("ends", "says"),
    [
        ("badly", "error: corpus.jsonl: no such file\n"),
        ("disk", "error: shard-3.parquet: No such file or directory\n"),
    ],
)
def test_a_failure_is_one_line_and_in_the_log(
    folder: Path, capsys: pytest.CaptureFixture[str], ends: str, says: str
) -> None:
    assert main(["quickstart", "note.py", "--ends", ends]) == 2
    assert capsys.readouterr().err.splitlines()[-1] + "\n" == says
    last = json.loads((folder / "runs" / "note" / "log.txt").read_text().splitlines()[-1])
    assert "Traceback" in last["traceback"]
    assert not (folder / "runs" / "note" / "done.json").exists()


def test_a_dry_run_shows_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quickstart", "note.py", "--dry-run", "--inner.steps", "1234"]) == 0
    out = capsys.readouterr().out
    assert "1,234" in out
    assert "runs/note" in out
    assert not (folder / "runs").exists()


def test_profile_is_a_short_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "pretrain/debug", "--profile", "3", "--dry-run"]) == 0
    assert "profile_steps 3" in capsys.readouterr().out
