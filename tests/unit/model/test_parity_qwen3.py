import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.suites.families import check_family, check_greedy

from nautiloid.model.blocks.attention.config import AttentionConfig, RopeConfig
from nautiloid.model.blocks.config import BlockConfig
from nautiloid.model.blocks.mlp.config import MLPConfig
from nautiloid.model.blocks.moe.config import MoEConfig
from nautiloid.model.config import ModelConfig

EXAMPLES = settings(
    max_examples=6,
    phases=[Phase.generate],
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@st.composite
def configs(draw, model_type):
    kv = draw(st.sampled_from([1, 2]))
    layers = draw(st.integers(1, 3))
    bias = draw(st.booleans())
    attention = {
        "num_attention_heads": kv * draw(st.sampled_from([1, 2, 3])),
        "num_key_value_heads": kv,
        "head_dim": draw(st.sampled_from([8, 16])),
        "attention_bias": bias,
        "qk_norm": True,
        "rope": RopeConfig(rope_theta=draw(st.sampled_from([1e4, 1e6]))),
    }
    window = draw(st.sampled_from([None, 4, 9]))
    mixers = {"*": AttentionConfig(**attention)}
    if window:
        mixers["W"] = AttentionConfig(**attention, sliding_window=window)
    mlps: dict[str, BlockConfig] = {
        "-": MLPConfig(intermediate_size=48, mlp_hidden_act="silu", is_gated=True)
    }
    if model_type == "qwen3_moe":
        mlps["E"] = MoEConfig(
            n_routed_experts=11,
            num_experts_per_tok=draw(st.integers(1, 4)),
            moe_intermediate_size=24,
            moe_shared_expert_intermediate_size=0,
            norm_topk_prob=draw(st.booleans()),
            router_score="softmax",
            has_correction_bias=False,
            mlp_hidden_act="silu",
            is_gated=True,
        )
        letters = ("W" if window else "*") * layers  # one window for all layers in this family
    else:
        letters = draw(st.text(list(mixers), min_size=layers, max_size=layers))
    pattern = "".join(letter + draw(st.sampled_from(sorted(mlps))) for letter in letters)
    return ModelConfig(
        family=model_type,
        vocab_size=97,
        hidden_size=draw(st.sampled_from([48, 64])),
        pattern=pattern,
        blocks={c: b for c, b in {**mixers, **mlps}.items() if c in pattern},
        tie_word_embeddings=draw(st.booleans()),
        layer_norm_epsilon=1e-6,
        pad_token_id=None,
        dtype="float32",
    )


@pytest.mark.parametrize("model_type", ["qwen3", "qwen3_moe"])
@EXAMPLES
@given(
    data=st.data(),
    seed=st.integers(0, 2**16),
    lengths=st.lists(st.integers(2, 40), min_size=1, max_size=3),
)
def test_logits_gradients_and_folders(tmp_path_factory, model_type, data, seed, lengths):
    config = data.draw(configs(model_type))
    check_family(config, tmp_path_factory.mktemp("parity"), seed=seed, lengths=lengths)


@pytest.mark.parametrize(
    ("model_type", "pattern"), [("qwen3", "*-*-*-"), ("qwen3", "*-W-"), ("qwen3_moe", "*-*E*E")]
)
def test_greedy(tmp_path, model_type, pattern):
    attention = {
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "qk_norm": True,
        "rope": RopeConfig(),
    }  # fmt: skip
    blocks = {
        "*": AttentionConfig(**attention),
        "W": AttentionConfig(**attention, sliding_window=8),
        "-": MLPConfig(intermediate_size=48, mlp_hidden_act="silu", is_gated=True),
        "E": MoEConfig(
            n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=24,
            moe_shared_expert_intermediate_size=0, router_score="softmax", has_correction_bias=False,
            mlp_hidden_act="silu", is_gated=True,
        ),
    }  # fmt: skip
    config = ModelConfig(
        family=model_type, vocab_size=256, hidden_size=64, pattern=pattern, layer_norm_epsilon=1e-6, pad_token_id=None,
        blocks={c: blocks[c] for c in dict.fromkeys(pattern)}, dtype="float32",
    )  # fmt: skip
    ours, theirs = check_family(config, tmp_path, seed=3, lengths=[30, 11])
    check_greedy(ours, theirs, torch.arange(3, 20))
