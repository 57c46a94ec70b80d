"""kill -9 at random times: the final weights are those of a run that nobody touched."""

import random
import signal
import subprocess

import pytest
from tests.suites.resuming import assert_same, start_process, tiny_pretraining, train

from nautiloid.core.run import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS = 20


def test_twenty_kills(tmp_path):
    # Saving at every step makes kills in the middle of a write likely.
    recipe = tiny_pretraining(tmp_path, num_steps=600, save_every_steps=1)
    reference = train(tmp_path / "reference", recipe)
    draw = random.Random(0)
    kills, attempt = 0, 0
    while kills < KILLS:
        out = tmp_path / f"run-{attempt}"
        child = start_process(recipe, tmp_path / "recipe.json", out)
        try:
            child.wait(timeout=draw.uniform(1.0, 12.0))
            assert child.returncode == 0
            assert_same(Run.open(out, recipe), reference)  # it got to its end between two kills
            attempt += 1
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
            kills += 1
    assert_same(train(tmp_path / f"run-{attempt}", recipe), reference)
