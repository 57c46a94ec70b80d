"""Bad input through the command line: one line with field or file and remedy, status 2, nothing half-written.

`main` runs in this process; every case starts from a recorded recipe or a model folder that works.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.suites.resuming import tiny_pretraining

from nautiloid.cli.main import main
from nautiloid.core.config import to_json
from nautiloid.core.files import read_json

WORDS = "the shell drifts slow in the deep reef and the spiral turns"
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recorded recipe that works and a finished run of it."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = tiny_pretraining(folder, num_steps=2)
    (folder / "recipe.json").write_text(json.dumps({"schema": 1, "recipe": to_json(recipe)}))
    assert main(["pretrain", str(folder / "recipe.json"), "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """A copy of the finished model, to be damaged."""
    return Path(shutil.copytree(trained / "run" / "model", tmp_path / "model"))


def fails(argv: list[str], capsys: pytest.CaptureFixture[str], *says: str) -> None:
    capsys.readouterr()
    assert main(argv) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    for part in says:
        assert part in line, line


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.rglob("*") if p.name.endswith((".tmp", ".old"))]


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(read_json(path) | changes))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hiden_size": 32}, ("config.json: hiden_size",)),
        ({"hybrid_override_pattern": "ME*X"}, ("config.json", "X")),
        ({"torch_dtype": "int3", "dtype": "int3"}, ("config.json", "int3")),
        ({"model_type": "nemotronh"}, ("model_type", "nemotron")),
        ({"hidden_size": "wide"}, ("config.json: hidden_size: wide: expected",)),
        ({"hidden_size": 48}, ("model.safetensors", "expected [")),
    ],
)
def test_a_wrong_config_of_a_folder(
    model: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, object],
    says: tuple[str, ...],
) -> None:
    edit(model / "config.json", **change)
    (model / "manifest.json").unlink()
    fails(["convert", str(model), "--out", str(model.parent / "out")], capsys, *says)
    assert not (model.parent / "out").exists()
    assert leftovers(model.parent) == []


def test_a_truncated_file(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    says = ("model.safetensors", "torn")
    fails(["convert", str(model), "--out", str(model.parent / "out")], capsys, *says)
    (model / "manifest.json").unlink()
    for argv in (["inspect", str(model)], ["chat", str(model)]):
        fails(argv, capsys, "model.safetensors", "truncated", "copy the file again")


def test_a_damaged_file(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = model / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(bytes(data))
    says = ("model.safetensors: wrong checksum", "use another checkpoint")
    fails(["convert", str(model), "--out", str(model.parent / "out")], capsys, *says)
    assert not (model.parent / "out").exists()


def test_a_missing_shard(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = model.parent / "parts"
    assert main(["convert", str(model), "--out", str(parts), "--max-shard-gb", "0.00005"]) == 0
    shard = sorted(parts.glob("model-*.safetensors"))[1]
    shard.unlink()
    fails(["inspect", str(parts)], capsys, f"{shard.name}: missing shard", "copy it again")


def test_files_with_another_content(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = model / "model.safetensors"
    for header in (b"{", b"[1]", b'{"a": {"dtype": "F32"}}'):
        weights.write_bytes(len(header).to_bytes(8, "little") + header)
        fails(["inspect", str(model)], capsys, f"{weights}: not a safetensors file")
    weights.unlink()
    index = model / "model.safetensors.index.json"
    for text in ("{}", "[1]"):
        index.write_text(text)
        fails(["inspect", str(model)], capsys, f"{index}: weight_map: missing")


def test_a_folder_without_weights(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model / "model.safetensors").unlink()
    fails(["inspect", str(model)], capsys, "holds neither model.safetensors nor")


def test_a_tokenizer_of_another_model(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = read_json(model / "tokenizer.json")
    tokenizer["model"]["vocab"]["nautiloids"] = 5000
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    fails(["chat", str(model)], capsys, "tokenizer.json: 5001 ids", "use the tokenizer")


def test_a_full_disk(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: object, path: Path, metadata: object = None) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("nautiloid.model.weights.save_file", full)
    out = model.parent / "out"
    fails(["convert", str(model), "--out", str(out)], capsys, f"{out}: disk full", "make room")
    assert not out.exists()
    assert leftovers(model.parent) == []


def corpus(data: dict[str, Any], **changes: object) -> None:
    data["data"]["phases"][0]["parts"][0]["source"] |= changes


def jsonl(path: str) -> Change:
    def change(data: dict[str, Any]) -> None:
        data["data"]["phases"][0]["parts"][0]["source"] = {"kind": "jsonl", "paths": [path]}

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: corpus(d, paths=["nowhere.txt"]), ("nowhere.txt",)),
        (lambda d: corpus(d, paths=["empty.txt"]), ("no samples: check its files",)),
        (lambda d: corpus(d, paths=["latin.txt"]), ("latin.txt", "UTF-8")),
        (lambda d: corpus(d, path=["x"]), ("did you mean 'paths'",)),
        (jsonl("bad.jsonl"), ("bad.jsonl:2", "not valid JSON")),
        (jsonl("keys.jsonl"), ("keys.jsonl:1",)),
        (jsonl("media.jsonl"), ("x.png", "text only")),
        (lambda d: d["loader"].update(too_long="error"), ("too_long", "32")),
        (lambda d: d["trainer"].update(num_step=3), ("trainer.num_step", "did you mean")),
        (lambda d: d["trainer"]["optim"].update(lr=-1.0), ("optim.lr: -1.0",)),
        (lambda d: d["model"].update(pattern="ME?"), ("?", "unknown letter at layer 2")),
        (lambda d: d["model"].update(vocab_size=64), ("tokenizer",)),
        (lambda d: d["trainer"]["optim"].update(lr=1e30), ("loss nan", "lower trainer.optim.lr")),
        (lambda d: d["model"]["blocks"].update(E={"kind": "moo"}), ("did you mean 'moe'",)),
    ],
)
def test_bad_settings_and_data(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: Change,
    says: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 au lait")
    (tmp_path / "bad.jsonl").write_text(f'{{"text": "{WORDS}"}}\n{{"text": \n')
    (tmp_path / "keys.jsonl").write_text(f'{{"txet": "{WORDS}"}}\n')
    image = {"type": "image", "image": "x.png"}
    chat = [{"role": "user", "content": [image]}, {"role": "assistant", "content": "a shell"}]
    (tmp_path / "media.jsonl").write_text(json.dumps({"messages": chat}) + "\n")
    data = read_json(trained / "recipe.json")
    data["recipe"]["trainer"] |= {"num_steps": 12, "save_every_steps": 100}
    change(data["recipe"])
    (tmp_path / "recipe.json").write_text(json.dumps(data))
    fails(["pretrain", "recipe.json", "--out", "run"], capsys, *says)
    assert not (tmp_path / "run" / "model").exists()
    assert not (tmp_path / "run" / "done.json").exists()
    assert leftovers(tmp_path) == []


def test_a_torn_checkpoint_is_passed_over(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(trained / "run", tmp_path / "run"))
    expected = (run / "model" / "model.safetensors").read_bytes()
    shutil.rmtree(run / "model")
    (run / "done.json").unlink()
    newest = sorted((run / "checkpoints").iterdir())[-1]
    with (newest / "model.safetensors").open("r+b") as handle:
        handle.truncate(100)
    assert main(["pretrain", str(run)]) == 0
    assert (run / "model" / "model.safetensors").read_bytes() == expected


def test_a_run_is_never_replaced_by_a_model(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(trained / "run", tmp_path / "run"))
    fails(["convert", str(run), "--out", str(run)], capsys, "exists and is not a model folder")
    assert (run / "metrics.jsonl").is_file()


def test_a_run_that_cannot_start_leaves_its_folder_free(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = read_json(trained / "recipe.json")
    data["recipe"]["tokenizer"] = str(tmp_path / "nowhere")
    (tmp_path / "recipe.json").write_text(json.dumps(data))
    argv = ["pretrain", str(tmp_path / "recipe.json"), "--out", str(tmp_path / "run")]
    fails(argv, capsys, "nowhere")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--temperature", "nan"], "sampling.temperature: nan: use a finite number"),
        (["--top-p", "0"], "sampling.top_p: 0.0: use a number above 0"),
        (["--max-tokens", "0"], "sampling.max_tokens: 0: use at least 1"),
        (["--budget", "-1"], "sampling.thinking_budget_tokens: -1: use None or at least 0"),
        (["--temprature", "1"], "--temprature: unknown option"),
        (["--input", "x.jsonl"], "--output: give --input and --output together"),
        (["--input", "no.jsonl", "--output", "x"], "no.jsonl: no such file"),
    ],
)
def test_wrong_settings_of_a_chat(
    model: Path, capsys: pytest.CaptureFixture[str], more: list[str], says: str
) -> None:
    fails(["chat", str(model), *more], capsys, says)
    assert leftovers(model.parent) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails(["chat", str(model), "--device", "cuda"], capsys, "device: cuda: torch sees no GPU")


def test_a_run_of_runs_names_its_models(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outer = tmp_path / "outer"
    shutil.copytree(trained / "run", outer / "sft")
    (outer / "env.json").write_text("{}")
    shutil.copy(trained / "recipe.json", outer / "config.json")
    for verb in ("chat", "eval"):
        fails([verb, str(outer)], capsys, f"model: {outer}: name one of {outer / 'sft'}")
