"""Qwen3 dense: layer i is our blocks 2i (attention with rope and q/k norm) and 2i + 1 (gated MLP)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, cast

from nautiloid.core.errors import InputError
from nautiloid.model.blocks.attention.config import AttentionConfig, RopeConfig
from nautiloid.model.blocks.config import BlockConfig
from nautiloid.model.blocks.mlp.config import MLPConfig
from nautiloid.model.config import ModelConfig
from nautiloid.model.family import (
    Family,
    InexpressibleError,
    Json,
    Keys,
    Stored,
    decode_floats,
    read_dtype,
    read_tokens,
    refuse_quantized,
    require_same,
    write_tokens,
)
from nautiloid.model.layout import mixer, whole

ALIASES = {"torch_dtype": "dtype", "num_local_experts": "num_experts"}
ATTENTION = {"full_attention": "*", "sliding_attention": "W"}


@Family.registry("qwen3")
class Qwen3(Family):
    """Grouped-query attention with rope and q/k norm, then a gated MLP, each behind its own norm."""

    model_type: ClassVar[str] = "qwen3"
    architecture: ClassVar[str] = "Qwen3ForCausalLM"
    no_effect: ClassVar[tuple[str, ...]] = ("attention_dropout", "max_window_layers")

    def read_config(self, data: Mapping[str, Any]) -> ModelConfig:
        """Decode config.json of transformers 4.51 or later."""
        keys = Keys(decode_floats(data), ALIASES)
        refuse_quantized(keys)
        keys.require("hidden_act", ("silu",), "only silu is supported")
        keys.take("hidden_act", str, "silu")
        keys.require("attention_dropout", (0, 0.0), "dropout is not supported; set it to 0.0")
        layers = keys.take("num_hidden_layers", int)
        if layers < 1:
            raise InputError("num_hidden_layers", layers, "use at least 1")
        hidden_size = keys.take("hidden_size", int)
        attention, first = self._read_attention(keys, layers, hidden_size)
        mlps, second = self._read_mlps(keys, layers)
        return ModelConfig(
            family=self.model_type,
            vocab_size=keys.take("vocab_size", int),
            hidden_size=hidden_size,
            pattern="".join(a + b for a, b in zip(first, second, strict=True)),
            blocks={**attention, **mlps},
            tie_word_embeddings=keys.take("tie_word_embeddings", bool, False),
            layer_norm_epsilon=keys.take("rms_norm_eps", float, 1e-6),
            initializer_range=keys.take("initializer_range", float, 0.02),
            rescale_prenorm_residual=False,
            max_position_embeddings=keys.take("max_position_embeddings", int, 32768),
            dtype=cast(Any, read_dtype(keys)),
            **read_tokens(keys, eos=None),
            extra=keys.finish(self.no_effect),
        )

    def _read_attention(
        self, keys: Keys, layers: int, hidden_size: int
    ) -> tuple[dict[str, BlockConfig], str]:
        heads = keys.take("num_attention_heads", int)
        block = AttentionConfig(
            num_attention_heads=heads,
            num_key_value_heads=keys.take("num_key_value_heads", int | None, None) or heads,
            head_dim=keys.take("head_dim", int | None, None) or self._head_dim(hidden_size, heads),
            attention_bias=keys.take("attention_bias", bool, False),
            qk_norm=True,
            rope=_read_rope(keys),
        )
        window = keys.take("sliding_window", int | None, None)
        if not keys.take("use_sliding_window", bool, False):
            window = None
        letters = self._attention_letters(keys, layers, window)
        blocks: dict[str, BlockConfig] = {}
        for letter in dict.fromkeys(letters):
            blocks[letter] = replace(block, sliding_window=window if letter == "W" else None)
        return blocks, letters

    def _head_dim(self, hidden_size: int, heads: int) -> int:
        return 128

    def _attention_letters(self, keys: Keys, layers: int, window: int | None) -> str:
        names = keys.take("layer_types", list[str] | None, None)
        start = keys.take("max_window_layers", int, 28)
        if names is None:
            return "".join("W" if window and i >= start else "*" for i in range(layers))
        if len(names) != layers:
            raise InputError("layer_types", len(names), f"contradicts num_hidden_layers ({layers})")
        for i, name in enumerate(names):
            if name not in ATTENTION:
                raise InputError(f"layer_types.{i}", name, f"use one of {', '.join(ATTENTION)}")
            if name == "sliding_attention" and window is None:
                raise InputError(
                    f"layer_types.{i}", name, "contradicts use_sliding_window or sliding_window"
                )
        return "".join(ATTENTION[name] for name in names)

    def _read_mlps(self, keys: Keys, layers: int) -> tuple[dict[str, BlockConfig], str]:
        return {"-": read_mlp(keys)}, "-" * layers

    def write_config(self, config: ModelConfig) -> Json:
        """Encode with both spellings of the rope base, for old and new readers."""
        blocks = list(config.layers())
        first = blocks[0]
        is_paired = len(blocks) % 2 == 0 and all(
            isinstance(block, AttentionConfig) == (i % 2 == 0) for i, block in enumerate(blocks)
        )
        if (
            not is_paired
            or not isinstance(first, AttentionConfig)
            or first.rope is None
            or config.mtp
        ):
            raise InexpressibleError(
                "pattern", config.pattern, f"{self.model_type} alternates rope attention and MLP"
            )
        windows = [b.sliding_window for b in blocks if isinstance(b, AttentionConfig)]
        window = next((w for w in windows if w), None)
        data: Json = {
            **config.extra,
            "architectures": [self.architecture],
            "model_type": self.model_type,
            "dtype": config.dtype,
            "vocab_size": config.vocab_size,
            "hidden_size": config.hidden_size,
            "num_hidden_layers": len(blocks) // 2,
            "num_attention_heads": first.num_attention_heads,
            "num_key_value_heads": first.num_key_value_heads,
            "head_dim": first.head_dim,
            "attention_bias": first.attention_bias,
            "hidden_act": "silu",
            "rope_theta": first.rope.rope_theta,
            "rope_parameters": {"rope_type": "default", "rope_theta": first.rope.rope_theta},
            "use_sliding_window": window is not None,
            "sliding_window": window,
            "tie_word_embeddings": config.tie_word_embeddings,
            "rms_norm_eps": config.layer_norm_epsilon,
            "initializer_range": config.initializer_range,
            "max_position_embeddings": config.max_position_embeddings,
            **write_tokens(config),
            **self._write_layers(windows),
            **self._write_mlps(blocks[1::2]),
        }
        require_same(config, self.read_config(data), self.model_type)
        return data

    def _write_layers(self, windows: list[int | None]) -> Json:
        return {"layer_types": ["sliding_attention" if w else "full_attention" for w in windows]}

    def _write_mlps(self, blocks: list[BlockConfig]) -> Json:
        if not isinstance(blocks[0], MLPConfig):
            raise InexpressibleError(
                "layer 1", type(blocks[0]).__name__, "qwen3 has dense MLPs only"
            )
        return {"intermediate_size": blocks[0].intermediate_size}

    def layout(self, config: ModelConfig, *, per_expert: bool = True) -> list[Stored]:
        """`model.layers.{i}.self_attn` and `.mlp`, each with its norm; a tied head is left out."""
        d, specs = config.hidden_size, config.tensors()
        out = [whole("model.embed_tokens.weight", "embeddings.weight", specs["embeddings.weight"])]
        for i, block in enumerate(config.layers()):
            at = f"model.layers.{i // 2}"
            norm, path = (
                ("post_attention_layernorm", "mlp") if i % 2 else ("input_layernorm", "self_attn")
            )
            ours = f"layers.{i}"
            out.append(
                whole(f"{at}.{norm}.weight", f"{ours}.norm.weight", specs[f"{ours}.norm.weight"])
            )
            out += mixer(block, d, f"{ours}.mixer", f"{at}.{path}", per_expert=per_expert)
        out.append(whole("model.norm.weight", "norm_f.weight", specs["norm_f.weight"]))
        if not config.tie_word_embeddings:
            out.append(whole("lm_head.weight", "lm_head.weight", specs["lm_head.weight"]))
        return out


def read_mlp(keys: Keys) -> MLPConfig:
    """The gated dense MLP."""
    width = keys.take("intermediate_size", int)
    return MLPConfig(intermediate_size=width, mlp_hidden_act="silu", is_gated=True)


def _read_rope(keys: Keys) -> RopeConfig:
    keys.require("rope_scaling", (None,), "scaled rope is not supported; set it to null")
    keys.take("rope_scaling", dict[str, Any] | None, None)
    old = keys.take("rope_theta", float | None, None)
    rope = keys.take("rope_parameters", dict[str, Any] | None, None) or {}
    kind = rope.get("rope_type", "default")
    if kind != "default":
        raise InputError(
            "rope_parameters.rope_type", kind, "scaled rope is not supported; use 'default'"
        )
    known = ("rope_type", "rope_theta")
    for name in rope:
        if name not in known:
            raise InputError(
                f"rope_parameters.{name}", None, f"unknown key; use {', '.join(known)}"
            )
    theta = rope.get("rope_theta", old)
    if old is not None and theta != old:
        raise InputError(
            "rope_theta", old, f"contradicts rope_parameters.rope_theta ({theta}); keep one"
        )
    return RopeConfig(rope_theta=10_000.0 if theta is None else float(theta))
