import json
import subprocess
import sys
from dataclasses import replace

import pytest
from safetensors.numpy import load_file

from nautiloid.core.config import Recipe, from_json, to_json
from nautiloid.core.errors import InputError
from nautiloid.core.metrics import read_metrics
from nautiloid.core.recipes import load_recipe
from nautiloid.core.run import Run
from nautiloid.data.loader import LoaderConfig
from nautiloid.data.mixing import mix
from nautiloid.data.sources.environment import EnvironmentSource
from nautiloid.envs.sums import Sums
from nautiloid.train.config import AdamWConfig, TrainerConfig
from nautiloid.train.distill import DistillRecipe
from nautiloid.train.hooks.snapshots import SnapshotHook
from nautiloid.train.pretrain import PretrainRecipe
from nautiloid.train.recipe import TokenizerConfig
from nautiloid.train.sft import SFTRecipe

SHIPPED = ("pretrain/debug", "pretrain/hybrid", "sft/debug", "distill/debug")


@pytest.fixture
def sft(config):
    chats = EnvironmentSource(environment=Sums(), count=30)
    return SFTRecipe(
        name="tiny",
        model=replace(config, vocab_size=320),
        tokenizer=TokenizerConfig(vocab_size=320, num_documents=30),
        data=mix(chats),
        loader=LoaderConfig(row_tokens=128, rows_per_batch=1, window_rows=4, too_long="drop"),
        trainer=TrainerConfig(num_steps=2, optim=AdamWConfig(lr=1e-2), peak_flops=1e12),
    )


def execute(recipe, path):
    run = Run.open(path, recipe)
    recipe.run(run)
    return run


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("preset", [None, "debug"])
def test_shipped_recipes_load_record_and_sum_up(name, preset):
    recipe = load_recipe(name, preset)
    recorded = json.loads(json.dumps(to_json(recipe)))
    assert from_json(Recipe, recorded) == recipe
    facts = recipe.summary()
    assert {"parameters", "memory", "steps", "token budget"} <= set(facts)


def test_shipped_recipes_are_torch_free():
    code = (
        "import sys; from nautiloid.core.recipes import load_recipe\n"
        f"[load_recipe(name, p).summary() for name in {SHIPPED!r} for p in (None, 'debug')]\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sft_then_init_then_distill(sft, tmp_path):
    first = execute(replace(sft, hooks=(SnapshotHook(every_steps=1),)), tmp_path / "first")
    assert first.is_done
    assert sorted(p.name for p in (first.path / "snapshots").iterdir()) == [
        "step-00000001",
        "step-00000002",
    ]
    weights = load_file(first.model / "model.safetensors")
    last = load_file(first.path / "snapshots" / "step-00000002" / "model.safetensors")
    assert all(last[name].tobytes() == weights[name].tobytes() for name in weights)

    # `init` takes the run's folder, and with it the tokenizer; a zero rate for all leaves the weights.
    frozen = replace(
        sft.trainer,
        optim=AdamWConfig(lr=1e-2, trainable=("norm_f.weight",)),
        bias_rate=0.0,
    )
    again = replace(
        sft, name="again", model=None, tokenizer=None, init=str(first.path), trainer=frozen
    )
    assert again.summary()["parameters"] == sft.summary()["parameters"]
    second = execute(again, tmp_path / "second")
    tuned = load_file(second.model / "model.safetensors")
    moved = {name for name in weights if tuned[name].tobytes() != weights[name].tobytes()}
    assert moved == {"backbone.norm_f.weight"}
    files = [(run.model / "tokenizer.json").read_bytes() for run in (first, second)]
    assert files[0] == files[1]

    student = DistillRecipe(
        name="student",
        model=sft.model,
        teacher=str(first.path),
        data=sft.data,
        loader=sft.loader,
        trainer=sft.trainer,
    )
    third = execute(student, tmp_path / "third")
    lines = list(read_metrics(third.path / "metrics.jsonl", "train"))
    assert [line["step"] for line in lines] == [1, 2]
    assert all(line["kl"] > 0 for line in lines)


def test_profile_is_written(sft, tmp_path):
    run = execute(
        replace(sft, trainer=replace(sft.trainer, num_steps=4, profile_steps=1)), tmp_path / "run"
    )
    assert "Self CPU" in (run.path / "profile" / "table.txt").read_text()
    assert json.loads((run.path / "profile" / "trace.json").read_text())["traceEvents"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "init: give either init"),
        ({"init": "somewhere"}, "init: somewhere: give either init"),
        ({"tokenizer": None}, "tokenizer: a fresh model needs a tokenizer"),
        ({"loader": LoaderConfig(boundary="row")}, "loader.boundary: row: use document"),
    ],
)
def test_contradictory_recipes_are_refused(sft, changes, message):
    with pytest.raises(InputError, match=message):
        replace(sft, **changes)


def test_missing_and_unfinished_starts_are_named(sft, tmp_path):
    recipe = replace(sft, model=None, tokenizer=None, init=str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"init: .*none: no model there"):
        execute(recipe, tmp_path / "a")
    unfinished = Run.open(tmp_path / "unfinished", sft)
    recipe = replace(recipe, init=str(unfinished.path))
    with pytest.raises(InputError, match="this run has not finished"):
        execute(recipe, tmp_path / "b")


def test_a_tokenizer_that_is_too_large_is_refused(sft, config, tmp_path):
    with pytest.raises(InputError, match=r"tokenizer: .* ids: the model has 48"):
        execute(replace(sft, model=config), tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()


def test_a_teacher_with_another_tokenizer_is_refused(sft, tmp_path):
    teacher = execute(sft, tmp_path / "teacher")
    student = DistillRecipe(
        name="student",
        model=sft.model,
        tokenizer=TokenizerConfig(vocab_size=300, num_documents=10),
        teacher=str(teacher.model),
        data=sft.data,
        loader=sft.loader,
        trainer=sft.trainer,
    )
    with pytest.raises(InputError, match="its tokenizer is not that of this run"):
        execute(student, tmp_path / "run")


def test_data_that_ends_early_is_named(sft, tmp_path):
    once = mix(EnvironmentSource(environment=Sums(), count=3), epochs=1)
    recipe = replace(sft, data=once, trainer=replace(sft.trainer, num_steps=50))
    with pytest.raises(InputError, match=r"trainer.num_steps: 50: the data ends after \d+ steps"):
        execute(recipe, tmp_path / "run")


def test_several_processes_are_refused(sft, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="WORLD_SIZE: 2: training runs in one process"):
        execute(sft, tmp_path / "run")


def test_pretraining_may_join_documents(sft):
    fields = {f: getattr(sft, f) for f in ("model", "tokenizer", "data", "trainer")}
    recipe = PretrainRecipe(name="joined", loader=LoaderConfig(boundary="row"), **fields)
    assert recipe.tokens_per_step == 512 * 8
