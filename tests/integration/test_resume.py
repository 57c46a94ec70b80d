"""A training run that is stopped, killed or torn continues to the same bits."""

import json
import signal
import time
from dataclasses import dataclass, replace

import pytest
from tests.suites.resuming import assert_same, lines, start_process, tiny_pretraining, train

from nautiloid.core.config import to_json
from nautiloid.core.metrics import read_metrics
from nautiloid.core.run import Run
from nautiloid.train.hook import Hook, hook

NUM_STEPS = 9


@hook("test_resume")
@dataclass(frozen=True, kw_only=True)
class StopAfter(Hook):
    """Asks the run to stop, as SIGTERM does."""

    step: int

    def on_step(self, state):
        if state.step == self.step:
            state.run.should_stop.set()


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return tiny_pretraining(tmp_path_factory.mktemp("corpus"), NUM_STEPS)


@pytest.fixture(scope="module")
def reference(recipe, tmp_path_factory):
    run = train(tmp_path_factory.mktemp("reference") / "run", recipe)
    assert run.is_done
    return run


def test_the_reference_run_is_complete(reference, recipe):
    written = lines(reference)
    assert [line["step"] for line in written if line["kind"] == "train"] == list(
        range(1, NUM_STEPS + 1)
    )
    assert [line["step"] for line in written if line["kind"] == "eval"] == [3, 6, 9]
    names = {path.name for path in reference.model.iterdir()}
    assert {
        "config.json",
        "tokenizer.json",
        "provenance.json",
        "README.md",
        "manifest.json",
    } <= names
    card = (reference.model / "README.md").read_text()
    assert "CC0-1.0" in card
    assert "| held_out_loss |" in card
    provenance = json.loads((reference.model / "provenance.json").read_text())
    assert provenance["recipe"] == to_json(recipe)
    assert provenance["tokens"] == written[-2]["tokens"]


def test_a_finished_run_is_not_done_again(reference, recipe):
    before = {path: path.stat().st_mtime_ns for path in reference.path.rglob("*") if path.is_file()}
    recipe.run(Run.open(reference.path, recipe))
    after = {path: path.stat().st_mtime_ns for path in reference.path.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("step", [1, 4, 8])
def test_stop_and_resume(reference, recipe, tmp_path, step):
    stopped = Run.open(tmp_path / "run", recipe)
    # The hook is no part of the recorded settings, which must stay those of the reference.
    replace(recipe, hooks=(StopAfter(step=step),)).run(stopped)
    assert not stopped.is_done
    assert not stopped.model.exists()
    assert_same(train(stopped.path, recipe), reference)


def test_a_torn_checkpoint_is_refused_and_the_one_before_used(reference, recipe, tmp_path, caplog):
    stopped = Run.open(tmp_path / "run", recipe)
    replace(recipe, hooks=(StopAfter(step=5),)).run(stopped)
    newest = stopped.checkpoints / "step-00000005" / "optimizer.safetensors"
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    run = train(stopped.path, recipe)
    assert "checkpoint refused" in caplog.text
    assert "resumed at step 4" in caplog.text
    assert_same(run, reference)


def test_kill_and_resume(reference, recipe, tmp_path):
    # The reference is of this process, whatever other tests did to it before.
    child = start_process(recipe, tmp_path / "recipe.json", tmp_path / "run")
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and child.poll() is None:
        if any(line["step"] >= 3 for line in read_metrics(metrics)):
            child.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    child.wait()
    assert child.returncode == -signal.SIGKILL
    assert_same(train(tmp_path / "run", recipe), reference)
