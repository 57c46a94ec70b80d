import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.suites.families import check_family, check_greedy

from nautiloid.model.blocks.attention.config import AttentionConfig
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.blocks.mlp.config import MLPConfig
from nautiloid.model.blocks.moe.config import MoEConfig
from nautiloid.model.config import ModelConfig

EXAMPLES = settings(
    max_examples=10,
    phases=[Phase.generate],
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@st.composite
def configs(draw):
    groups = draw(st.sampled_from([1, 2, 4]))
    kv = draw(st.sampled_from([1, 2]))
    latent, mlp_bias = draw(st.sampled_from([(None, False), (None, True), (32, False)]))
    n_group, topk_group = draw(st.sampled_from([(1, 1), (2, 1), (4, 2)]))
    blocks = {
        "M": MambaConfig(
            mamba_num_heads=groups * draw(st.sampled_from([1, 2])),
            mamba_head_dim=draw(st.sampled_from([8, 16])),
            n_groups=groups,
            ssm_state_size=draw(st.sampled_from([8, 32])),
            conv_kernel=draw(st.sampled_from([2, 4])),
            use_conv_bias=draw(st.booleans()),
            use_bias=draw(st.booleans()),
            chunk_size=draw(st.sampled_from([4, 16])),
        ),
        "*": AttentionConfig(
            num_attention_heads=kv * draw(st.sampled_from([1, 2, 4])),
            num_key_value_heads=kv,
            head_dim=draw(st.sampled_from([8, 16])),
        ),
        "-": MLPConfig(intermediate_size=96, mlp_bias=mlp_bias),
        "E": MoEConfig(
            n_routed_experts=12,
            num_experts_per_tok=draw(st.integers(1, 3)),
            moe_intermediate_size=24,
            moe_shared_expert_intermediate_size=48,
            moe_latent_size=latent,
            mlp_bias=mlp_bias,
            n_group=n_group,
            topk_group=topk_group,
            norm_topk_prob=draw(st.booleans()),
            routed_scaling_factor=2.5,
        ),
    }
    pattern = draw(st.text("ME*-", min_size=1, max_size=6))
    return ModelConfig(
        vocab_size=97,
        hidden_size=draw(st.sampled_from([48, 64])),
        pattern=pattern,
        blocks={letter: blocks[letter] for letter in dict.fromkeys(pattern)},
        dtype="float32",
    )


@EXAMPLES
@given(
    config=configs(),
    seed=st.integers(0, 2**16),
    lengths=st.lists(st.integers(2, 40), min_size=1, max_size=3),
)
def test_logits_gradients_and_folders(tmp_path_factory, config, seed, lengths):
    mamba = config.blocks.get("M")
    if mamba is not None and mamba.use_bias:
        # transformers zeroes padding before in_proj only, so its bias leaks through the convolution
        lengths = [max(lengths)] * len(lengths)
    check_family(config, tmp_path_factory.mktemp("parity"), seed=seed, lengths=lengths)


@pytest.mark.parametrize("pattern", ["M*", "ME*-", "MEMEM*EMEMEM*EME"])
@pytest.mark.parametrize("latent", [None, 32])
def test_reference_patterns(tmp_path, pattern, latent):
    """The tiny reference models of specs/architecture 10.1, with greedy generation."""
    blocks = {
        "M": MambaConfig(mamba_num_heads=8, mamba_head_dim=16, n_groups=2, ssm_state_size=32, chunk_size=16),
        "*": AttentionConfig(num_attention_heads=4, num_key_value_heads=2, head_dim=16),
        "-": MLPConfig(intermediate_size=96),
        "E": MoEConfig(
            n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=24,
            moe_shared_expert_intermediate_size=48, moe_latent_size=latent, routed_scaling_factor=2.5,
        ),
    }  # fmt: skip
    config = ModelConfig(
        vocab_size=256, hidden_size=64, pattern=pattern, dtype="float32",
        blocks={letter: blocks[letter] for letter in dict.fromkeys(pattern)},
    )  # fmt: skip
    ours, theirs = check_family(config, tmp_path, seed=len(pattern), lengths=[37, 28, 5])
    check_greedy(ours, theirs, torch.arange(3, 20))
