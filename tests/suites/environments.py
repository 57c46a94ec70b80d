"""What every environment must hold; called by the unit tests of each."""

import asyncio
from dataclasses import replace

import pytest

from nautiloid.core.config import from_json, to_json
from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.core.types import Message, Turn
from nautiloid.envs.environment import Environment, split_of


class Scripted:
    """A policy that answers every prompt by a function of it."""

    def __init__(self, answer):
        self.answer = answer

    async def respond(self, messages, *, tools=(), thinking=True, params=None):
        message = self.answer(tuple(messages), thinking)
        return Turn(prompt_ids=(), ids=(), logprobs=(), message=message, finish_reason="stop")


def oracle(environment, tasks):
    """A policy that knows the tasks."""
    known = {task.prompt: task for task in tasks}
    return Scripted(lambda prompt, thinking: environment.solve(known[prompt], thinking=thinking))


def silent():
    """A policy that says nothing."""
    return Scripted(lambda prompt, thinking: Message("assistant", ""))


def check_environment(environment: Environment, *, held_out: int = 500) -> None:
    """Run the whole suite."""
    check_tasks(environment, held_out)
    check_splits(environment, held_out)
    check_answers(environment)
    check_episode(environment)
    check_settings(environment)


def check_tasks(environment, held_out):
    for level in range(1, environment.num_levels + 1):
        count = held_out if level <= 2 else 50
        tasks = replace(environment, levels=(level,)).tasks("test", count, Seed(3))
        assert len({task.id for task in tasks}) == count
        assert {task.level for task in tasks} == {level}
        for task in tasks[:20]:
            environment.validate(task)
            assert task.environment == type(environment).__kind__
            assert to_json(task.meta) == task.meta


def check_splits(environment, held_out):
    train = environment.tasks("train", 2_000, Seed(0))
    test = environment.tasks("test", held_out, Seed(1))
    assert not {task.id for task in train} & {task.id for task in test}
    assert {split_of(task.id) for task in train} == {"train"}
    assert environment.tasks("train", 2_000, Seed(0)) == train
    assert environment.tasks("train", 700, Seed(0)) == train[:700]
    assert environment.tasks("train", 50, Seed(2)) != train[:50]
    posed = {}
    for task in (*train, *test):
        assert posed.setdefault(task.prompt, task.answer) == task.answer


def check_answers(environment):
    for task in environment.tasks("train", 20, Seed(5)):
        gold = environment.solve(task, thinking=True)
        assert gold.reasoning
        assert environment.solve(task, thinking=False).reasoning is None
        for text, reward in (
            (f"\n {gold.text}  ", 1.0),
            ("", 0.0),
            ("  \n", 0.0),
            (gold.text + "1", 0.0),
            (f"the answer is {gold.text}", 0.0),
            (gold.reasoning + "\n" + gold.text, 0.0),
        ):
            assert environment.score(task, Message("assistant", text))["reward"] == reward, text
        hidden = Message("assistant", "", reasoning=gold.text)
        assert environment.score(task, hidden)["reward"] == 0.0


def check_episode(environment):
    tasks = environment.tasks("test", 8, Seed(6))
    for policy, reward in ((oracle(environment, tasks), 1.0), (silent(), 0.0)):
        for task in tasks:
            rollout = asyncio.run(environment.episode(task, policy, thinking=False))
            assert rollout.task_id == task.id
            assert rollout.reward == reward
            assert rollout.status == "done"


def check_settings(environment):
    assert from_json(Environment, to_json(environment)) == environment
    with pytest.raises(InputError, match="levels"):
        replace(environment, levels=(0,))
    with pytest.raises(InputError, match="levels"):
        replace(environment, levels=())
