"""Every part of benchmarks/serve_gpu.py runs at tiny sizes on a CPU, so that none fails on a GPU for a slip."""

import importlib
import math

import pytest
import torch
from benchmarks.results_file import Row
from benchmarks.serve_gpu import PARTS
from benchmarks.serve_rows.limits import prefill_limit, step_bytes

from nautiloid.model.presets import preset

# a process of its own for each start: slow on two cores
IN_PROCESS = [name for name in PARTS.names() if name != "start"]


@pytest.mark.parametrize("part", IN_PROCESS)
def test_part_runs(part):
    torch.manual_seed(0)
    rows = list(importlib.import_module(f"benchmarks.serve_rows.{part}").rows(tiny=True))
    assert rows
    for row in rows:
        assert isinstance(row, Row)
        assert row.value is not None
        assert math.isfinite(row.value)
        assert row.value > 0


@pytest.mark.parametrize(
    ("requests", "prompt", "limit"),
    [(1, 1024, 646), (8, 1024, 1457), (32, 1024, 2553), (128, 1024, 7170), (256, 1024, 12170)],
)
def test_limits_are_those_of_the_anchors(requests, prompt, limit):
    config = preset("nemotron-3-nano-30b-a3b")
    experts = 128 * (1 - (1 - 6 / 128) ** requests)
    moved = step_bytes(
        config, requests=requests, cached_tokens=requests * prompt, distinct_experts=experts
    )
    assert requests * 4.24e12 / moved.total == pytest.approx(limit, rel=0.02)
    assert prefill_limit(config, 8192) == pytest.approx(128_000, rel=0.02)
