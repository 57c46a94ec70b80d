import subprocess
import sys

import pytest
from tests.suites.environments import check_environment

from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.core.types import Message
from nautiloid.envs.environment import Environment, Task
from nautiloid.envs.sorting import Sorting
from nautiloid.envs.sums import Sums


@pytest.mark.parametrize(
    "environment", [Sums(), Sums(levels=(1, 3)), Sorting(), Sorting(levels=(2,))]
)
def test_suite(environment):
    check_environment(environment)


def test_names_find_the_classes():
    assert Environment.registry.names() == ["sorting", "sums"]
    assert Environment.registry.get("sums") is Sums
    assert Environment.registry.get("sorting") is Sorting


def test_totals_never_go_below_zero():
    for task in Sums(levels=(1, 2, 3)).tasks("train", 500, Seed(0)):
        terms = task.meta["terms"]
        assert len(terms) == task.level + 2
        assert all(sum(terms[: i + 1]) >= 0 for i in range(len(terms)))


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        ("3 17 45", 1),
        ("3,17,45", 1),
        ("3 , 17\n45", 1),
        ("3,,17,45", 0),
        ("3 45 17", 0),
        ("3 17", 0),
        ("[3 17 45]", 0),
        ("3 17 45 45", 0),
    ],
)
def test_sorting_separators(text, reward):
    task = Task(id="x", environment="sorting", level=1, prompt=(), answer="3 17 45")
    assert Sorting().score(task, Message("assistant", text))["reward"] == reward


def test_an_exhausted_split_is_named(monkeypatch):
    monkeypatch.setattr(Sums, "make", lambda self, level, random: TASK)
    with pytest.raises(InputError, match="count"):
        Sums().tasks("test", 5, Seed(0))


TASK = Task(id="sums-1-1+1+1", environment="sums", level=1, prompt=(), answer="3")


def test_a_broken_task_is_named():
    broken = Task(
        id="t", environment="sums", level=1, prompt=(), answer="", meta={"terms": [1, 2, 3]}
    )
    with pytest.raises(InputError, match="task t"):
        Sums().validate(broken)


def test_environments_start_without_torch():
    code = (
        "import sys, nautiloid.envs.sums, nautiloid.envs.sorting; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
