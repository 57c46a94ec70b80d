"""Metrics lines: written, cut, read through damage."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from nautiloid.core.metrics import Metrics, read_metrics


@pytest.fixture
def metrics(tmp_path: Path) -> Metrics:
    return Metrics(tmp_path / "metrics.jsonl", clock=lambda: 12.3456)


def test_lines_carry_kind_step_and_time(metrics: Metrics) -> None:
    metrics.write("train", 1, {"loss": 2.0})
    metrics.write("eval", 1, {"loss": 3.0})
    assert list(read_metrics(metrics.path)) == [
        {"kind": "train", "step": 1, "time": 12.346, "loss": 2.0},
        {"kind": "eval", "step": 1, "time": 12.346, "loss": 3.0},
    ]
    assert [line["loss"] for line in read_metrics(metrics.path, "eval")] == [3.0]


def test_numbers_that_are_none_stay_json(metrics: Metrics) -> None:
    metrics.write("train", 1, {"loss": math.nan, "load": [[1.0, math.inf], [0.5]]})
    text = metrics.path.read_text()
    line = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert line["loss"] == "nan"
    assert line["load"] == [[1.0, "inf"], [0.5]]


def test_truncate_drops_later_steps(metrics: Metrics) -> None:
    for step in range(1, 6):
        metrics.write("train", step, {"loss": float(step)})
    metrics.truncate(3)
    assert [line["step"] for line in read_metrics(metrics.path)] == [1, 2, 3]
    metrics.write("train", 4, {"loss": 0.0})
    assert [line["step"] for line in read_metrics(metrics.path)] == [1, 2, 3, 4]


def test_a_torn_last_line_is_left_out(metrics: Metrics) -> None:
    metrics.write("train", 1, {"loss": 1.0})
    with metrics.path.open("a") as handle:
        handle.write('{"kind": "train", "st')
    assert [line["step"] for line in read_metrics(metrics.path)] == [1]


def test_no_file_is_no_lines(metrics: Metrics) -> None:
    assert list(read_metrics(metrics.path)) == []
    metrics.truncate(0)
