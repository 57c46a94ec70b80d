import json
import subprocess
import sys

import benchmarks.parts as parts
import pytest
from benchmarks.parts import Parts, environment
from benchmarks.results_file import Row


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "ROOT", tmp_path)
    folder = tmp_path / "benchmarks" / "toy_rows"
    folder.mkdir(parents=True)
    for name in ("good", "torn"):
        (folder / f"{name}.py").write_text("def rows(tiny=False):\n    return []\n")
    (folder / "helper.py").write_text("x = 1\n")
    return Parts(script="-", results="toy", folder="toy_rows", last=("good",), flags=("tiny",))


def test_parts_are_files_with_rows_the_last_ones_last(made):
    assert made.names() == ["torn", "good"]


def test_merging_renews_rows_and_drops_old_failures(made, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "RESULTS", tmp_path)
    old = [Row(work=name, value=0.0, unit="x").__dict__ for name in ("zero", "one", "good")]
    (tmp_path / "toy.json").write_text(json.dumps({"rows": old}))
    merged = made._merged([Row(work="one", value=1.0, unit="x")], ["good"])
    assert [(row.work, row.value) for row in merged] == [("zero", 0.0), ("one", 1.0)]


def test_a_part_runs_in_its_own_process():
    command = [sys.executable, str(parts.ROOT / "benchmarks" / "serve_gpu.py"), "super", "--tiny"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stderr
    assert "decode_super12_64x1024" in done.stdout
