"""Recorded decoding steps equal steps run operation by operation, through all that requests go through."""

import pytest
import torch

from nautiloid.core.seed import Seed
from nautiloid.core.types import SamplingParams
from nautiloid.engine.engine import Engine
from nautiloid.model.blocks.attention import AttentionConfig
from nautiloid.model.blocks.mamba import MambaConfig
from nautiloid.model.blocks.mlp import MLPConfig
from nautiloid.model.blocks.moe import MoEConfig
from nautiloid.model.config import ModelConfig
from nautiloid.model.decoder import Decoder
from nautiloid.ops import compiled
from nautiloid.ops.config import OpsConfig

if not compiled.is_available():
    pytest.skip("compiled kernels need numba and torch's OpenMP", allow_module_level=True)

CONFIG = ModelConfig(
    vocab_size=97,
    hidden_size=32,
    pattern="ME*-",
    blocks={
        "M": MambaConfig(mamba_num_heads=4, mamba_head_dim=8, n_groups=2, ssm_state_size=16),
        "*": AttentionConfig(num_attention_heads=4, num_key_value_heads=2, head_dim=8),
        "-": MLPConfig(intermediate_size=48),
        "E": MoEConfig(
            n_routed_experts=8,
            num_experts_per_tok=2,
            moe_intermediate_size=24,
            moe_latent_size=16,
            moe_shared_expert_intermediate_size=32,
        ),
    },
    dtype="float32",
)


def model(ops=None):
    decoder = Decoder(CONFIG, ops=ops)
    decoder.init_weights(Seed(3))
    return decoder


def prompts(count):
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 97, (3 + 5 * i,), generator=generator).tolist() for i in range(count)]


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert a.ids == b.ids
        assert a.logprobs == pytest.approx(b.logprobs, abs=2e-5)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_recorded_steps_equal_plain_ones(count):
    params = [SamplingParams(temperature=0, max_tokens=20 + 30 * (i % 3)) for i in range(count)]
    engine = Engine(model(), max_batch=count, stop_ids=())
    found = engine.generate(prompts(count), params)
    programs = engine.runner.programs
    assert programs.obstacle is None
    assert len(programs.programs) > 0
    plain = Engine(model(OpsConfig.reference()), max_batch=count, stop_ids=())
    assert_same(found, plain.generate(prompts(count), params))
    # reference mixers compute with torch, so their steps cannot be recorded
    assert plain.runner.programs.obstacle is not None
    # a second time every shape is known
    assert_same(engine.generate(prompts(count), params), found)


def test_requests_that_come_and_go_keep_their_own_states():
    engine = Engine(model(), max_batch=3, stop_ids=())
    asked = prompts(6)
    params = [SamplingParams(temperature=0, max_tokens=4 + 7 * i) for i in range(6)]
    together = engine.generate(asked, params)
    alone = [engine.generate([p], s)[0] for p, s in zip(asked, params, strict=True)]
    assert_same(together, alone)


def test_new_weights_are_seen_by_recorded_steps():
    engine = Engine(model(), max_batch=1, stop_ids=())
    params = SamplingParams(temperature=0, max_tokens=12)
    engine.generate(prompts(1), params)
    other = Decoder(CONFIG)
    other.init_weights(Seed(4))
    engine.load_weights(iter(other.state_dict().items()), version=1)
    expected = Engine(other, max_batch=1, stop_ids=()).generate(prompts(1), params)
    assert_same(engine.generate(prompts(1), params), expected)


def test_a_float64_model_runs_without_programs():
    decoder = Decoder(CONFIG, dtype=torch.float64)
    decoder.init_weights(Seed(3))
    engine = Engine(decoder, max_batch=1, stop_ids=())
    engine.generate(prompts(1), SamplingParams(temperature=0, max_tokens=4))
    assert engine.runner.programs.obstacle == "no compiled kernels"
