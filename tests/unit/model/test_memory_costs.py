from dataclasses import replace

import pytest

from nautiloid.model.memory_config import MemoryConfig
from nautiloid.model.memory_costs import step_memory
from nautiloid.model.presets import preset

NANO = preset("nemotron-3-nano-30b-a3b")
SMALL = preset("nemotron-3-nano-4b")


def test_bytes_of_each_mode():
    """Bytes a parameter of training_systems 1.2."""
    count = 3_973_556_832
    for weights, moments, per_parameter in (
        ("float32", "float32", 16),
        ("masters", "float32", 18),
        ("masters", "bfloat16", 14),
        ("stochastic", "bfloat16", 10),
    ):
        found = step_memory(SMALL, tokens=4096, weights=weights, moments=moments)
        assert found.static / count == pytest.approx(per_parameter, rel=1e-3)


def test_a_moe_layer_is_the_worked_size():
    """0.66 GB a layer of Nano 3 at 8192 tokens, less the expert inputs, which are gathered again.

    Experts padded to 64 rows add up to 30 MB.
    """
    one = replace(NANO, pattern="E", mtp=None)
    kept = step_memory(one, tokens=8192).by_layer[0]
    assert kept == pytest.approx(0.66e9 - 2 * 6 * 8192 * 2688, rel=0.1)


@pytest.mark.parametrize("part", ["norm", "activation", "router", "conv", "block"])
def test_dropping_a_part_saves_memory(part):
    whole = step_memory(NANO, tokens=8192)
    less = step_memory(NANO, tokens=8192, memory=MemoryConfig(recompute=(part,)))
    assert less.activations < whole.activations
    assert less.peak < whole.peak
    some = step_memory(NANO, tokens=8192, memory=MemoryConfig(recompute=(part,), layers=(0, 1, 5)))
    assert less.activations < some.activations < whole.activations


def test_offload_leaves_little():
    near = step_memory(SMALL, tokens=16384)
    far = step_memory(SMALL, tokens=16384, memory=MemoryConfig(offload_activations=True))
    assert far.peak - far.static < 0.25 * (near.peak - near.static)
    streamed = step_memory(SMALL, tokens=16384, memory=MemoryConfig(offload_optimizer=True))
    assert streamed.static < 0.5 * near.static


def test_mtp_costs_memory():
    from nautiloid.model.config import MTPConfig

    one, two = (replace(NANO, mtp=MTPConfig(depth=depth)) for depth in (1, 2))
    base = step_memory(replace(NANO, mtp=None), tokens=8192)
    assert base.activations < step_memory(one, tokens=8192).activations
    assert step_memory(one, tokens=8192).activations < step_memory(two, tokens=8192).activations
