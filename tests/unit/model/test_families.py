import json
import math
from dataclasses import replace

import pytest

from nautiloid.core.errors import InputError
from nautiloid.model.blocks.attention.config import AttentionConfig, RopeConfig
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.config import ModelConfig, MTPConfig
from nautiloid.model.family import InexpressibleError, family
from nautiloid.model.folder import read_config
from nautiloid.model.presets import preset

NANO = {  # the published JSON of 3-Nano-30B-A3B, specs/architecture 1.3
    "architectures": ["NemotronHForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {"AutoConfig": "configuration_nemotron_h.NemotronHConfig"},
    "bos_token_id": 1,
    "chunk_size": 128,
    "conv_kernel": 4,
    "eos_token_id": 2,
    "expand": 2,
    "head_dim": 128,
    "hidden_dropout": 0.0,
    "hidden_size": 2688,
    "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
    "initializer_range": 0.0173,
    "intermediate_size": 1856,
    "layer_norm_epsilon": 1e-05,
    "mamba_head_dim": 64,
    "mamba_hidden_act": "silu",
    "mamba_num_heads": 64,
    "mamba_proj_bias": False,
    "mamba_ssm_cache_dtype": "float32",
    "max_position_embeddings": 262144,
    "mlp_bias": False,
    "mlp_hidden_act": "relu2",
    "model_type": "nemotron_h",
    "moe_intermediate_size": 1856,
    "moe_shared_expert_intermediate_size": 3712,
    "n_group": 1,
    "n_groups": 8,
    "n_routed_experts": 128,
    "n_shared_experts": 1,
    "norm_eps": 1e-05,
    "norm_topk_prob": True,
    "num_attention_heads": 32,
    "num_experts_per_tok": 6,
    "num_hidden_layers": 52,
    "num_key_value_heads": 2,
    "num_logits_to_keep": 1,
    "pad_token_id": 0,
    "partial_rotary_factor": 1.0,
    "rescale_prenorm_residual": True,
    "residual_in_fp32": False,
    "rope_theta": 10000,
    "routed_scaling_factor": 2.5,
    "sliding_window": None,
    "ssm_state_size": 128,
    "tie_word_embeddings": False,
    "time_step_floor": 0.0001,
    "time_step_max": 0.1,
    "time_step_min": 0.001,
    "topk_group": 1,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.55.4",
    "use_bias": False,
    "use_cache": True,
    "use_conv_bias": True,
    "use_mamba_kernels": True,
    "vocab_size": 131072,
}
QWEN = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "model_type": "qwen3",
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.0",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
QWEN_MOE = {k: v for k, v in QWEN.items() if k != "architectures"} | {
    "model_type": "qwen3_moe",
    "decoder_sparse_step": 1,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "max_window_layers": 48,
    "mlp_only_layers": [],
    "moe_intermediate_size": 768,
    "norm_topk_prob": True,
    "num_attention_heads": 32,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 48,
    "num_key_value_heads": 4,
    "output_router_logits": False,
    "rope_theta": 1000000.0,
    "router_aux_loss_coef": 0.001,
    "tie_word_embeddings": False,
}


def read(data):
    return family(data["model_type"]).read_config(data)


def without(data, *names):
    return {k: v for k, v in data.items() if k not in names}


def test_published_configs_are_the_presets():
    for data, name in (
        (NANO, "nemotron-3-nano-30b-a3b"),
        (QWEN, "qwen3-0.6b"),
        (QWEN_MOE, "qwen3-30b-a3b"),
    ):
        expected = preset(name)
        config = read(data)
        same = replace(config, extra={}, eos_token_id=expected.eos_token_id)
        assert same == expected


def test_native_spelling_reads_the_same():
    kinds = {"M": "linear_attention", "E": "moe", "*": "full_attention", "-": "mlp"}
    legacy = {"M": "mamba", "E": "moe", "*": "attention", "-": "mlp"}
    old = read(NANO)
    for names, key in (
        (kinds, "layers_block_type"),
        (kinds, "layer_types"),
        (legacy, "layers_block_type"),
    ):
        native = without(NANO, "hybrid_override_pattern", "num_hidden_layers", "torch_dtype")
        native[key] = [names[c] for c in old.pattern]
        native["dtype"] = "bfloat16"
        native["time_step_limit"] = [0.0, {"__float__": "Infinity"}]
        assert replace(read(native), extra={}) == replace(old, extra={})


def test_aliases_read_the_same():
    aliases = {
        "n_groups": "mamba_n_groups", "conv_kernel": "mamba_d_conv", "expand": "mamba_expand",
        "time_step_min": "mamba_dt_min", "time_step_max": "mamba_dt_max",
        "time_step_floor": "mamba_dt_init_floor", "use_conv_bias": "mamba_conv_bias",
        "chunk_size": "mamba_chunk_size", "head_dim": "attention_head_dim",
        "n_routed_experts": "num_local_experts",
    }  # fmt: skip
    changed = {**NANO, "n_groups": 4, "time_step_min": 0.002, "chunk_size": 256, "head_dim": 64}
    spelled = {aliases.get(k, k): v for k, v in changed.items()}
    assert read(spelled) == read(changed)
    limit = read({**NANO, "mamba_dt_limit": [0.001, {"__float__": "Infinity"}]})
    mamba = limit.blocks["M"]
    assert isinstance(mamba, MambaConfig)
    assert mamba.time_step_limit == (0.001, math.inf)


def test_mtp_is_read_in_both_spellings():
    for key, value in (
        ("mtp_hybrid_override_pattern", "*E"),
        ("mtp_layers_block_type", ["attention", "moe"]),
        ("mtp_layers_block_type", ["full_attention", "moe"]),
    ):
        config = read({**NANO, "num_nextn_predict_layers": 1, key: value})
        assert config.mtp == MTPConfig(pattern="*E", num_nextn_predict_layers=1, depth=1)


def test_keys_without_effect_are_written_back():
    config = read(NANO)
    assert config.extra["rope_theta"] == 10000
    written = family("nemotron_h").write_config(config)
    ours = {"transformers_version", "auto_map", "torch_dtype"}
    assert {k: v for k, v in written.items() if k != "dtype"} == without(NANO, *ours)
    assert read(written) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hiden_size": 1}, "hiden_size: unknown key; did you mean 'hidden_size'"),
        ({"zzzzz": 1}, "zzzzz: unknown key; remove it"),
        ({"hidden_size": "big"}, "hidden_size: big: expected a valid integer"),
        ({"num_hidden_layers": 51}, "num_hidden_layers: 51: contradicts the layer pattern"),
        ({"attention_head_dim": 64}, "attention_head_dim: 64: contradicts head_dim"),
        ({"mamba_n_groups": 4}, "mamba_n_groups: 4: contradicts n_groups"),
        ({"layers_block_type": ["moe"] * 52}, "hybrid_override_pattern: .* contradicts layers_block_type"),
        ({"layers_block_type": ["conv"]}, "layers_block_type.0: conv: use one of"),
        ({"hybrid_override_pattern": "MX", "num_hidden_layers": 2}, "X: unknown letter at layer 1"),
        ({"sliding_window": 4096}, "sliding_window: 4096: .*set it to null"),
        ({"attention_dropout": 0.1}, "attention_dropout: 0.1: dropout is not supported"),
        ({"n_shared_experts": 2}, "n_shared_experts: 2: write 1"),
        ({"mlp_bias": True, "moe_latent_size": 64}, "mlp_bias: True: latent projections have no bias"),
        ({"mlp_hidden_act": "gelu"}, "mlp_hidden_act: gelu: expected"),
        ({"mamba_hidden_act": "gelu"}, "mamba_hidden_act: gelu: expected"),
        ({"num_key_value_heads": 3}, "num_key_value_heads: 3: it must divide"),
        ({"n_group": 3}, "n_group: 3: it must divide n_routed_experts"),
        ({"torch_dtype": "int8"}, "dtype: int8: use one of"),
        ({"time_step_limit": [1.0, 0.5]}, "time_step_limit"),
        ({"quantization_config": {"quant_method": "modelopt"}}, "quant_method: modelopt: .*bfloat16 release"),
        ({"num_nextn_predict_layers": 1, "mtp_layers_block_type": ["moe"],
          "mtp_hybrid_override_pattern": "*E"}, "mtp_hybrid_override_pattern: .*contradicts"),
    ],
)  # fmt: skip
def test_bad_nemotron_config_is_refused_by_name(change, message):
    with pytest.raises(InputError, match=message):
        read({**NANO, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hiden_size": 1}, "hiden_size: unknown key; did you mean"),
        ({"hidden_act": "gelu"}, "hidden_act: gelu: only silu"),
        ({"rope_scaling": {"type": "yarn"}}, "rope_scaling"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters.rope_type: yarn"),
        ({"rope_parameters": {"rope_theta": 5.0}}, "rope_theta: .*contradicts"),
        ({"layer_types": ["full_attention"]}, "layer_types: 1: contradicts num_hidden_layers"),
        (
            {"layer_types": ["sliding_attention"] * 28},
            "layer_types.0: sliding_attention: contradicts",
        ),
        ({"num_hidden_layers": 0}, "num_hidden_layers: 0"),
        ({"num_experts": 4}, "num_experts: unknown key"),
    ],
)
def test_bad_qwen_config_is_refused_by_name(change, message):
    with pytest.raises(InputError, match=message):
        read({**QWEN, **change})


def test_bad_qwen_moe_config_is_refused_by_name():
    with pytest.raises(InputError, match="mlp_only_layers: 99: layers are 0 to 47"):
        read({**QWEN_MOE, "mlp_only_layers": [99]})
    with pytest.raises(InputError, match="num_local_experts: 4: contradicts num_experts"):
        read({**QWEN_MOE, "num_local_experts": 4})


def test_unknown_model_type_names_a_close_one(tmp_path):
    with pytest.raises(InputError, match="model_type: nemotronh: did you mean 'nemotron_h'"):
        family("nemotronh")
    (tmp_path / "config.json").write_text(json.dumps({**NANO, "hiden_size": 1}))
    with pytest.raises(InputError, match=r"config.json: hiden_size: unknown key"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="model_type: missing"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        read_config(tmp_path)


def test_generation_config_lists_all_ends_of_text(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(NANO))
    assert read_config(tmp_path).eos_ids == (2,)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 11]}))
    assert read_config(tmp_path).eos_ids == (2, 11)


def test_qwen_moe_keeps_dense_layers_and_windows():
    config = read(
        {**QWEN_MOE, "num_hidden_layers": 4, "mlp_only_layers": [0], "decoder_sparse_step": 2}
    )
    assert config.pattern == "*-*E*-*E"
    data = family("qwen3_moe").write_config(config)
    assert (data["mlp_only_layers"], data["decoder_sparse_step"]) == ([0, 2], 1)
    assert read(data) == config
    window = {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}
    config = read({**QWEN, "num_hidden_layers": 3, **window})
    assert config.pattern == "*-W-W-"
    assert config.blocks["W"] == replace(config.blocks["*"], sliding_window=16)
    assert read(family("qwen3").write_config(config)) == config
    assert read({**QWEN_MOE, "num_hidden_layers": 2, **window}).pattern == "WEWE"


def with_block(config, letter, **changes):
    return replace(
        config, blocks={**config.blocks, letter: replace(config.blocks[letter], **changes)}
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (with_block(preset("debug"), "*", qk_norm=True), "layer 3 qk_norm"),
        (with_block(preset("debug"), "*", rope=RopeConfig()), "layer 3 rope"),
        (with_block(preset("debug"), "*", attention_bias=True), "layer 3 attention_bias"),
        (with_block(preset("debug"), "E", is_gated=True), "layer 1 is_gated"),
        (with_block(preset("debug"), "-", mlp_bias=True), "mlp_bias"),
        (
            replace(preset("debug"), overrides={1: {"moe_intermediate_size": 32}}),
            "moe_intermediate_size",
        ),
        (replace(preset("debug"), family="qwen3"), "pattern"),
        (replace(preset("qwen3-30b-a3b"), family="qwen3"), "layer 1"),
        (
            replace(
                preset("qwen3-0.6b"), pattern="*-" * 3, overrides={1: {"intermediate_size": 8}}
            ),
            "layer",
        ),
    ],
)
def test_what_a_family_cannot_say_is_named_and_kept_by_our_own(config: ModelConfig, message):
    with pytest.raises(InexpressibleError, match=message):
        family(config.family).write_config(config)
    own = family("nautiloid")
    data = json.loads(json.dumps(own.write_config(config), allow_nan=False))
    assert own.read_config(data) == config


def test_variants_of_one_kind_collapse_when_equal():
    base = preset("debug")
    same = replace(base, pattern="MEMA", blocks={**base.blocks, "A": base.blocks["*"]})
    assert family("nemotron_h").write_config(same)["hybrid_override_pattern"] == "MEM*"
    other = replace(
        same, pattern="*EMA", blocks={**base.blocks, "A": AttentionConfig(num_attention_heads=8)}
    )
    with pytest.raises(InexpressibleError, match="num_attention_heads"):
        family("nemotron_h").write_config(other)


def test_layout_covers_every_tensor_once():
    for name in ("debug", "qwen3-0.6b"):
        config = preset(name)
        for kind in (config.family, "nautiloid"):
            for per_expert in (True, False):
                layout = family(kind).layout(config, per_expert=per_expert)
                assert len({s.name for s in layout}) == len(layout)
                assert {p.name for s in layout for p in s.parts} == set(config.tensors())
                total = sum(math.prod(s.shape) for s in layout)
                assert total == sum(math.prod(s.shape) for s in config.tensors().values())
