import json
from dataclasses import replace

import pytest

from nautiloid.core.config import from_json, to_json
from nautiloid.core.errors import InputError
from nautiloid.core.metrics import read_metrics
from nautiloid.core.run import Run
from nautiloid.core.seed import Seed
from nautiloid.data.tokenizer import Tokenizer
from nautiloid.eval.benchmarks.sorting import SortingBenchmark
from nautiloid.eval.benchmarks.sums import SumsBenchmark
from nautiloid.eval.hook import BenchmarkHook
from nautiloid.eval.recipe import EvalRecipe
from nautiloid.model.checkpoint import write_checkpoint
from nautiloid.model.decoder import Decoder
from nautiloid.model.presets import preset
from nautiloid.train.hook import Hook, HookState


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("eval")
    tokenizer = Tokenizer.train(["What is 12+7-5? 12+7=19\n19-5=14\n"] * 20, 330)
    tokenizer.save(root / "tokenizer")
    model = Decoder(replace(preset("debug"), vocab_size=330, pattern="M*-", mtp=None))
    model.init_weights(Seed(0))
    path = root / "model"
    write_checkpoint(path, model, tokenizer_folder=root / "tokenizer", provenance={}, card="x")
    return path


def test_a_random_model_scores_nothing(folder, tmp_path, capsys):
    recipe = EvalRecipe(
        name="e", model=str(folder), benchmarks=(SumsBenchmark(), SortingBenchmark()), count=6
    )
    run = Run.open(tmp_path / "run", recipe)
    recipe.run(run)
    results = json.loads((run.path / "results.json").read_text())
    assert [(r["benchmark"], r["thinking"]) for r in results] == [
        ("sums", True), ("sums", False), ("sorting", True), ("sorting", False),
    ]  # fmt: skip
    assert all(r["accuracy"] == 0.0 and r["overall"]["count"] == 6 for r in results)
    assert all(len(r["samples"]) == 6 for r in results)
    facts = results[0]["provenance"]
    assert facts["grammar"] == "nemotron3"
    assert facts["model"] == str(folder)
    assert len(facts["prompt_hash"]) == 16
    assert "sorting" in capsys.readouterr().out
    assert run.is_done
    assert next(read_metrics(run.metrics.path, "benchmark"))["sums/on"] == 0.0
    (run.path / "results.json").unlink()
    recipe.run(Run.open(run.path, recipe))  # done already
    assert not (run.path / "results.json").exists()


def test_settings_are_checked(folder, tmp_path):
    good = EvalRecipe(name="e", model=str(folder), benchmarks=(SumsBenchmark(),))
    assert from_json(EvalRecipe, to_json(good)) == good
    for change in (
        {"count": 0},
        {"modes": ()},
        {"benchmarks": ()},
        {"model": None},
        {"max_batch": 0},
    ):
        with pytest.raises(InputError, match=next(iter(change))):
            replace(good, **change)
    missing = replace(good, model=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="model"):
        missing.run(Run.open(tmp_path / "run", missing))
    assert not (tmp_path / "run" / "results.json").exists()


def test_the_hook_measures_on_its_steps_and_at_the_end(folder, tmp_path):
    from nautiloid.model.weights import load

    hook = BenchmarkHook(benchmarks=(SumsBenchmark(),), every_steps=2, count=4, modes=("on", "off"))
    assert to_json(hook)["kind"] == "nautiloid.eval.hook"
    assert from_json(Hook, to_json(hook)) == hook
    recipe = EvalRecipe(name="e", model=str(folder), benchmarks=(SumsBenchmark(),))
    run = Run.open(tmp_path / "run", recipe)
    state = HookState(
        run=run,
        model=load(folder),
        tokenizer=Tokenizer.load(folder),
        tokenizer_folder=folder,
        step=0,
        num_steps=4,
        figures={},
    )
    for step in range(1, 5):
        hook.on_step(replace(state, step=step))
    hook.on_end(replace(state, step=4))
    lines = list(read_metrics(run.metrics.path, "benchmark"))
    assert [line["step"] for line in lines] == [2, 4]
    assert all(line["sums/on"] == line["sums/off"] == 0.0 for line in lines)
