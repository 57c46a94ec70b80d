"""A whole run on a GPU: the loop ahead of the device, stop and resume to the same bits."""

from dataclasses import dataclass, replace

from tests.suites.resuming import assert_same, lines, tiny_pretraining, train

from nautiloid.core.run import Run
from nautiloid.train.config import AdamWConfig
from nautiloid.train.hook import Hook, hook

NUM_STEPS = 9


@hook("gpu_runs")
@dataclass(frozen=True, kw_only=True)
class StopAfter(Hook):
    """Asks the run to stop, as SIGTERM does."""

    step: int

    def on_step(self, state):
        if state.step == self.step:
            state.run.should_stop.set()


def check_runs(folder):
    """Uninterrupted and resumed runs give the same metrics and weights, in a mode with random bits."""
    (folder / "corpus").mkdir(parents=True)
    recipe = tiny_pretraining(folder / "corpus", NUM_STEPS)
    trainer = replace(
        recipe.trainer,
        device="cuda",
        weights="stochastic",
        optim=AdamWConfig(lr=5e-3, moments="bfloat16"),
        save_every_steps=5,
        eval_every_steps=4,
    )
    recipe = replace(recipe, trainer=trainer)
    whole = train(folder / "whole", recipe)
    assert whole.is_done
    written = lines(whole)
    steps = [line["step"] for line in written if line["kind"] == "train"]
    assert steps == list(range(1, NUM_STEPS + 1)), steps
    assert [line["step"] for line in written if line["kind"] == "eval"] == [4, 8, 9]
    stopped = Run.open(folder / "stopped", recipe)
    replace(recipe, hooks=(StopAfter(step=3),)).run(stopped)
    assert not stopped.is_done
    assert_same(train(stopped.path, recipe), whole)
