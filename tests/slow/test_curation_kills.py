"""kill -9 at random times and in every phase: the shards are those of a run that nobody touched."""

import random
import signal
import subprocess
import time

import pytest
from tests.suites.curate_parts.twins import Twins
from tests.suites.curate_parts.upper import Upper
from tests.suites.curating import curate, output, start_process, tiny_curation, write_pages

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

KILLS = 20


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Long enough to be killed in many places."""
    pages = write_pages(tmp_path_factory.mktemp("pages"), units=20, pages=20)
    stages = (*tiny_curation(pages).stages[:1], Upper(delay_s=0.02))
    finish = (Upper(delay_s=0.01),)
    dedup = (Twins(delay_s=0.5), Twins(words=3, delay_s=0.5))
    return tiny_curation(pages, processes=2, stages=stages, dedup=dedup, finish=finish)


@pytest.fixture(scope="module")
def reference(recipe, tmp_path_factory):
    return output(curate(tmp_path_factory.mktemp("reference") / "run", recipe).path)


def test_twenty_kills(recipe, reference, tmp_path):
    draw = random.Random(0)
    kills, attempt = 0, 0
    while kills < KILLS:
        out = tmp_path / f"run-{attempt}"
        child = start_process(recipe, tmp_path / "recipe.json", out)
        try:
            child.wait(timeout=draw.uniform(0.5, 5.0))
            assert child.returncode == 0
            assert output(out) == reference  # it got to its end between two kills
            attempt += 1
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
            kills += 1
    assert output(curate(tmp_path / f"run-{attempt}", recipe).path) == reference


@pytest.mark.parametrize(
    "sign",
    [
        "units/.*.tmp",
        "units/*/done.json",
        "dedup/.0.*.tmp",
        "dedup/.1.*.tmp",
        "final/.*.tmp",
        "final/*/done.json",
        "shards/*/*/.*.tmp",
        "shards/*/*/train-*",
        "manifest.json",
    ],
)
def test_a_kill_in_each_phase(sign, recipe, reference, tmp_path):
    out = tmp_path / "run"
    child = start_process(recipe, tmp_path / "recipe.json", out)
    while not list(out.glob(sign)):
        assert child.poll() is None, f"the run ended before there was {sign}"
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (out / "done.json").exists() or sign == "manifest.json"
    assert output(curate(out, recipe).path) == reference
    torn = [path for path in out.rglob(".*") if path.name.endswith((".tmp", ".old"))]
    assert torn == []
