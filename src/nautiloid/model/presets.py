"""Published models, the research ladder and small ones by name (specs/architecture 1.3, 1.4)."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from nautiloid.core.errors import InputError
from nautiloid.model.blocks.attention.config import AttentionConfig, RopeConfig
from nautiloid.model.blocks.config import BlockConfig
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.blocks.mlp.config import MLPConfig
from nautiloid.model.blocks.moe.config import MoEConfig
from nautiloid.model.config import ModelConfig, MTPConfig

_H_8B = "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-"
_H_47B = "M-M-M-M-M-M-M-M-M*-M-M-M-M-M-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-M-M---MM---M-M*-M-M-M-M-M-"
_H_56B = "M-M-M-M" + "*-M-M-M-M-M" * 9 + "*-M-M-M-M-M-"
_NANO_9B_V2 = "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-"
_NANO_12B_V2 = "M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M-"
_NANO_3_4B = "M-M-M-MM-M-M*-M-M*-M-M-M*-M-M-MM*-MMM-M-M-"
_NANO_3_30B = "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME"
_SUPER_3 = (
    "MEMEMEM*EMEMEMEM*EMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEM*EMEMEMEME"
)
_ULTRA_3 = (
    "MEMEMEM*EMEMEM*EMEMEMEM*EMEMEMEM*EMEMEM*EMEMEMEM*EMEMEMEM*EMEMEM*EMEMEMEM*EMEMEMEM*EMEMEM"
    "*EMEMEMEM*EMEMEMEME"
)


def _hybrid(
    pattern: str,
    d: int,
    mamba: tuple[int, int],
    attention: tuple[int, int],
    *,
    ff: int = 0,
    moe: MoEConfig | None = None,
    ssm_state_size: int = 128,
    chunk_size: int = 128,
    **options: Any,
) -> ModelConfig:
    """A `nemotron_h` model; `mamba` is (H, P), `attention` is (Q, KV)."""
    blocks: dict[str, BlockConfig] = {
        "M": MambaConfig(
            mamba_num_heads=mamba[0],
            mamba_head_dim=mamba[1],
            ssm_state_size=ssm_state_size,
            chunk_size=chunk_size,
        ),
        "*": AttentionConfig(num_attention_heads=attention[0], num_key_value_heads=attention[1]),
    }
    if ff:
        blocks["-"] = MLPConfig(intermediate_size=ff)
    if moe:
        blocks["E"] = moe
    return ModelConfig(vocab_size=131072, hidden_size=d, pattern=pattern, blocks=blocks, **options)


def _experts(
    count: int, chosen: int, width: int, shared: int, scale: float, latent: int | None = None
) -> MoEConfig:
    return MoEConfig(
        n_routed_experts=count,
        num_experts_per_tok=chosen,
        moe_intermediate_size=width,
        moe_shared_expert_intermediate_size=shared,
        moe_latent_size=latent,
        routed_scaling_factor=scale,
    )


def _nemotron_h_4b() -> ModelConfig:
    return _hybrid(_H_8B, 3072, (112, 64), (32, 8), ff=12288, max_position_embeddings=8192)


def _nemotron_h_8b() -> ModelConfig:
    return _hybrid(
        _H_8B,
        4096,
        (128, 64),
        (32, 8),
        ff=21504,
        initializer_range=0.014,
        max_position_embeddings=8192,
    )


def _nemotron_h_47b() -> ModelConfig:
    return _hybrid(
        _H_47B, 8192, (256, 64), (64, 8), ff=30720, ssm_state_size=256, max_position_embeddings=8192
    )


def _nemotron_h_56b() -> ModelConfig:
    return _hybrid(
        _H_56B, 8192, (256, 64), (64, 8), ff=32768, ssm_state_size=256, initializer_range=0.0099,
        max_position_embeddings=8192,
    )  # fmt: skip


def _nano_9b_v2() -> ModelConfig:
    return _hybrid(
        _NANO_9B_V2, 4480, (128, 80), (40, 8), ff=15680, max_position_embeddings=131072,
        eos_token_id=(2, 12),
    )  # fmt: skip


def _nano_12b_v2() -> ModelConfig:
    return _hybrid(
        _NANO_12B_V2, 5120, (128, 80), (40, 8), ff=20480, initializer_range=0.0125,
        max_position_embeddings=131072, eos_token_id=(2, 12),
    )  # fmt: skip


def _nano_3_4b() -> ModelConfig:
    return _hybrid(
        _NANO_3_4B, 3136, (96, 80), (40, 8), ff=12544, chunk_size=256,
        max_position_embeddings=262144, eos_token_id=(2, 11),
    )  # fmt: skip


def _nano_3_30b(mtp: MTPConfig | None = None) -> ModelConfig:
    return _hybrid(
        _NANO_3_30B, 2688, (64, 64), (32, 2), moe=_experts(128, 6, 1856, 3712, 2.5),
        initializer_range=0.0173, max_position_embeddings=262144, eos_token_id=(2, 11), mtp=mtp,
    )  # fmt: skip


def _super_3() -> ModelConfig:
    return _hybrid(
        _SUPER_3, 4096, (128, 64), (32, 2), moe=_experts(512, 22, 2688, 5376, 5.0, 1024),
        initializer_range=0.014, max_position_embeddings=262144, eos_token_id=(2, 11),
        mtp=MTPConfig(depth=2),
    )  # fmt: skip


def _ultra_3() -> ModelConfig:
    return _hybrid(
        _ULTRA_3, 8192, (256, 64), (64, 2), moe=_experts(512, 22, 5120, 10240, 5.0, 2048),
        initializer_range=0.0099, max_position_embeddings=262144, eos_token_id=(2, 11),
        mtp=MTPConfig(depth=2),
    )  # fmt: skip


def _ladder(
    pattern: str, d: int, heads: int, mamba_heads: int, width: int, shared: int, std: float
) -> ModelConfig:
    """A rung of the scaling ladder; the last one also trains two MTP depths."""
    return _hybrid(
        pattern, d, (mamba_heads, 64), (heads, 2), moe=_experts(128, 6, width, shared, 2.5),
        initializer_range=std, max_position_embeddings=8192,
        mtp=MTPConfig(depth=2) if pattern == _NANO_3_30B else None,
    )  # fmt: skip


def _qwen3(
    pattern: str, d: int, heads: tuple[int, int], mlp: BlockConfig, **options: Any
) -> ModelConfig:
    attention = AttentionConfig(
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        qk_norm=True,
        rope=RopeConfig(rope_theta=1_000_000.0),
    )
    return ModelConfig(
        vocab_size=151936, hidden_size=d, pattern=pattern, blocks={"*": attention, mlp.letter: mlp},
        layer_norm_epsilon=1e-6, rescale_prenorm_residual=False, max_position_embeddings=40960,
        pad_token_id=None, bos_token_id=151643, eos_token_id=151645, **options,
    )  # fmt: skip


def _qwen3_600m() -> ModelConfig:
    mlp = MLPConfig(intermediate_size=3072, mlp_hidden_act="silu", is_gated=True)
    return _qwen3("*-" * 28, 1024, (16, 8), mlp, family="qwen3", tie_word_embeddings=True)


def _qwen3_30b() -> ModelConfig:
    moe = MoEConfig(
        n_routed_experts=128, num_experts_per_tok=8, moe_intermediate_size=768,
        moe_shared_expert_intermediate_size=0, router_score="softmax", has_correction_bias=False,
        mlp_hidden_act="silu", is_gated=True,
    )  # fmt: skip
    return _qwen3("*E" * 48, 2048, (32, 4), moe, family="qwen3_moe")


def _debug() -> ModelConfig:
    """Every block kind, LatentMoE and MTP in about a million parameters."""
    return ModelConfig(
        vocab_size=2048,
        hidden_size=128,
        pattern="MEM*E-ME",
        blocks={
            "M": MambaConfig(
                mamba_num_heads=8, mamba_head_dim=32, n_groups=2, ssm_state_size=32, chunk_size=64
            ),
            "E": MoEConfig(
                n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=96,
                moe_shared_expert_intermediate_size=192, moe_latent_size=64, routed_scaling_factor=2.5,
            ),
            "*": AttentionConfig(num_attention_heads=4, num_key_value_heads=2, head_dim=32),
            "-": MLPConfig(intermediate_size=384),
        },
        mtp=MTPConfig(),
        initializer_range=0.05,
        max_position_embeddings=8192,
        eos_token_id=(2, 11),
        dtype="float32",
    )  # fmt: skip


_PRESETS: Mapping[str, Callable[[], ModelConfig]] = MappingProxyType({
    "debug": _debug,
    "nemotron-h-4b": _nemotron_h_4b,
    "nemotron-h-8b": _nemotron_h_8b,
    "nemotron-h-47b": _nemotron_h_47b,
    "nemotron-h-56b": _nemotron_h_56b,
    "nemotron-nano-9b-v2": _nano_9b_v2,
    "nemotron-nano-12b-v2": _nano_12b_v2,
    "nemotron-3-nano-4b": _nano_3_4b,
    "nemotron-3-nano-30b-a3b": _nano_3_30b,
    "nemotron-3.5-lightning-30b-a3b": lambda: _nano_3_30b(MTPConfig()),
    "nemotron-3-super-120b-a12b": _super_3,
    "nemotron-3-ultra-550b-a55b": _ultra_3,
    "a315m": lambda: _ladder("MEMEM*EMEME*EMEM*EMEME", 768, 6, 24, 512, 960, 0.0325),
    "a500m": lambda: _ladder("MEMEM*EMEMEM*EMEMEM*EMEMEME", 1024, 8, 32, 640, 1280, 0.028),
    "a770m": lambda: _ladder("MEMEMEM*EMEMEMEM*EMEMEMEM*EMEMEME", 1280, 12, 40, 768, 1536, 0.025),
    "a1b": lambda: _ladder("MEMEM*EMEMEM*EMEMEMEM*EMEMEM*EMEMEME", 1536, 12, 48, 1024, 2048, 0.0229),
    "a2b": lambda: _ladder(
        "MEMEMEM*EMEMEMEM*EMEMEMEM*EMEMEMEM*EMEMEMEME", 2048, 16, 64, 1280, 2560, 0.0198
    ),
    "a3b": lambda: _ladder(_NANO_3_30B, 2688, 32, 64, 1856, 3712, 0.0173),
    "qwen3-0.6b": _qwen3_600m,
    "qwen3-30b-a3b": _qwen3_30b,
})  # fmt: skip


def preset_names() -> list[str]:
    """Names of all presets, in reading order.

    >>> "nemotron-3-nano-30b-a3b" in preset_names()
    True
    """
    return list(_PRESETS)


def preset(name: str) -> ModelConfig:
    """The configuration of a published or small model.

    >>> preset("nemotron-3-nano-30b-a3b").num_hidden_layers
    52

    Raises:
        InputError: There is none of that name.
    """
    build = _PRESETS.get(name.lower())
    if build is None:
        close = difflib.get_close_matches(name.lower(), _PRESETS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(_PRESETS)}"
        raise InputError("preset", name, hint)
    return build()
