"""Nemotron-H, Nemotron Nano 2, Nemotron 3: remote-code and native configs (specs/architecture 1, 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

from nautiloid.core.errors import InputError
from nautiloid.model.blocks.attention.config import AttentionConfig
from nautiloid.model.blocks.config import BlockConfig
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.blocks.mlp.config import MLPConfig
from nautiloid.model.blocks.moe.config import MoEConfig
from nautiloid.model.config import ModelConfig, MTPConfig
from nautiloid.model.family import (
    Family,
    InexpressibleError,
    Json,
    Keys,
    Stored,
    decode_floats,
    encode_floats,
    read_dtype,
    read_tokens,
    refuse_quantized,
    require_same,
    write_tokens,
)
from nautiloid.model.layout import mixer, whole

ALIASES = {
    "layer_types": "layers_block_type",
    "attention_head_dim": "head_dim",
    "num_local_experts": "n_routed_experts",
    "torch_dtype": "dtype",
    "mamba_n_groups": "n_groups",
    "mamba_d_conv": "conv_kernel",
    "mamba_d_state": "ssm_state_size",
    "mamba_expand": "expand",
    "mamba_dt_min": "time_step_min",
    "mamba_dt_max": "time_step_max",
    "mamba_dt_limit": "time_step_limit",
    "mamba_dt_init_floor": "time_step_floor",
    "mamba_conv_bias": "use_conv_bias",
    "mamba_chunk_size": "chunk_size",
}
LETTERS = {
    "linear_attention": "M", "mamba": "M", "full_attention": "*", "attention": "*", "moe": "E", "mlp": "-",
}  # fmt: skip
# Keys of config.json that are fields of each block's config under the same name.
BLOCK_KEYS: dict[str, tuple[type[BlockConfig], tuple[str, ...]]] = {
    "M": (
        MambaConfig,
        (
            "mamba_num_heads", "mamba_head_dim", "n_groups", "ssm_state_size", "conv_kernel",
            "use_conv_bias", "use_bias", "chunk_size", "time_step_min", "time_step_max",
            "time_step_floor", "time_step_limit", "mamba_hidden_act", "mamba_ssm_cache_dtype",
        ),
    ),
    "*": (
        AttentionConfig,
        ("num_attention_heads", "num_key_value_heads", "head_dim", "attention_bias"),
    ),
    "-": (MLPConfig, ("intermediate_size", "mlp_hidden_act", "mlp_bias")),
    "E": (
        MoEConfig,
        (
            "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size",
            "moe_shared_expert_intermediate_size", "moe_latent_size", "n_group", "topk_group",
            "norm_topk_prob", "routed_scaling_factor", "mlp_hidden_act", "mlp_bias",
        ),
    ),
}  # fmt: skip
# Read by nothing here: scheduling hints, leftovers of other families, and switches that the
# native code ignores as well.
NO_EFFECT = (
    "rope_theta", "partial_rotary_factor", "norm_eps", "rms_norm_eps", "expand", "mamba_proj_bias",
    "moe_shared_expert_overlap", "residual_in_fp32", "sliding_window", "attention_dropout",
    "hidden_dropout", "n_shared_experts", "mtp_layers_block_type", "num_query_groups",
    "time_step_rank", "router_aux_loss_coef",
)  # fmt: skip


def _pattern(keys: Keys, listed: str, spelled: str) -> str | None:
    names = keys.take(listed, list[str] | None, None)
    pattern = keys.take(spelled, str | None, None)
    if names is None:
        return pattern
    for i, name in enumerate(names):
        if name not in LETTERS:
            raise InputError(f"{listed}.{i}", name, f"use one of {', '.join(LETTERS)}")
    letters = "".join(LETTERS[name] for name in names)
    if pattern is not None and pattern != letters:
        raise InputError(spelled, pattern, f"contradicts {listed} ({letters}); keep one")
    return letters


@Family.registry("nemotron_h")
class NemotronH(Family):
    """Pre-norm blocks named by a pattern of M, E, * and -."""

    def read_config(self, data: Mapping[str, Any]) -> ModelConfig:
        """Decode either generation of config.json."""
        keys = Keys(decode_floats(data), ALIASES)
        refuse_quantized(keys)
        pattern = _pattern(keys, "layers_block_type", "hybrid_override_pattern") or "ME*-"
        layers = keys.take("num_hidden_layers", int | None, None)
        if layers is not None and layers != len(pattern):
            raise InputError(
                "num_hidden_layers",
                layers,
                f"contradicts the layer pattern, which names {len(pattern)} layers",
            )
        mtp = self._read_mtp(keys)
        self._refuse_unsupported(keys, "E" in pattern)
        blocks = self._read_blocks(keys, pattern + (mtp.pattern if mtp else ""))
        known = [*NO_EFFECT, *(k for _, names in BLOCK_KEYS.values() for k in names)]
        return ModelConfig(
            family="nemotron_h",
            vocab_size=keys.take("vocab_size", int, 131072),
            hidden_size=keys.take("hidden_size", int, 4096),
            pattern=pattern,
            blocks=blocks,
            mtp=mtp,
            tie_word_embeddings=keys.take("tie_word_embeddings", bool, False),
            layer_norm_epsilon=keys.take("layer_norm_epsilon", float, 1e-5),
            initializer_range=keys.take("initializer_range", float, 0.02),
            rescale_prenorm_residual=keys.take("rescale_prenorm_residual", bool, True),
            max_position_embeddings=keys.take("max_position_embeddings", int, 4096),
            dtype=cast(Any, read_dtype(keys)),
            **read_tokens(keys, pad=0, bos=1, eos=2),
            extra=keys.finish(known),
        )

    def _read_mtp(self, keys: Keys) -> MTPConfig | None:
        count = keys.take("num_nextn_predict_layers", int, 0)
        depth = keys.take("mtp_num_layers", int | None, None)
        if not count:
            keys.take("mtp_hybrid_override_pattern", str | None, None)
            return None
        pattern = _pattern(keys, "mtp_layers_block_type", "mtp_hybrid_override_pattern") or "*E"
        return MTPConfig(pattern=pattern, num_nextn_predict_layers=count, depth=depth or count)

    def _refuse_unsupported(self, keys: Keys, has_moe: bool) -> None:
        keys.require("sliding_window", (None,), "this family attends to everything; set it to null")
        for name in ("attention_dropout", "hidden_dropout"):
            keys.require(name, (0, 0.0), "dropout is not supported; set it to 0.0")
        if has_moe:
            keys.require(
                "n_shared_experts",
                (1,),
                "write 1 and the full width in moe_shared_expert_intermediate_size",
            )

    def _read_blocks(self, keys: Keys, letters: str) -> dict[str, BlockConfig]:
        blocks: dict[str, BlockConfig] = {}
        for letter in dict.fromkeys(letters):
            if letter not in BLOCK_KEYS:
                raise InputError(
                    "hybrid_override_pattern",
                    letter,
                    f"unknown letter at layer {letters.index(letter)}; use M, E, * or -",
                )
            cls, names = BLOCK_KEYS[letter]
            if letter == "*" and keys.is_null("num_key_value_heads"):
                names = tuple(n for n in names if n != "num_key_value_heads")
                count = keys.take("num_attention_heads", int, 32)
                blocks[letter] = AttentionConfig(
                    **keys.fields(cls, names), num_key_value_heads=count
                )
            else:
                blocks[letter] = cls(**keys.fields(cls, names))
        moe = blocks.get("E")
        if isinstance(moe, MoEConfig) and moe.mlp_bias and moe.moe_latent_size:
            raise InputError(
                "mlp_bias", True, "latent projections have no bias here; set it to false"
            )
        return blocks

    def write_config(self, config: ModelConfig) -> Json:
        """Encode for the remote code of the published folders and for transformers 5."""
        letters = {letter: type(block).letter for letter, block in config.blocks.items()}
        used = config.pattern + (config.mtp.pattern if config.mtp else "")
        for letter in used:
            if letters[letter] not in BLOCK_KEYS:
                raise InexpressibleError("blocks", letter, "nemotron_h has no such block")
        data: Json = {
            **config.extra,
            "architectures": ["NemotronHForCausalLM"],
            "model_type": "nemotron_h",
            "dtype": config.dtype,
            "vocab_size": config.vocab_size,
            "hidden_size": config.hidden_size,
            "num_hidden_layers": config.num_hidden_layers,
            "hybrid_override_pattern": "".join(letters[c] for c in config.pattern),
        }
        for i, block in enumerate(config.layers()):
            self._write_block(data, block, f"layer {i}")
        if config.mtp:
            for letter in config.mtp.pattern:
                self._write_block(data, config.blocks[letter], "mtp")
            data["num_nextn_predict_layers"] = config.mtp.num_nextn_predict_layers
            data.pop("mtp_layers_block_type", None)
            data["mtp_hybrid_override_pattern"] = "".join(letters[c] for c in config.mtp.pattern)
            if config.mtp.depth != config.mtp.num_nextn_predict_layers:
                data["mtp_num_layers"] = config.mtp.depth
        if data.get("time_step_limit") == MambaConfig().time_step_limit:
            del data["time_step_limit"]  # the default everywhere; old readers choke on infinity
        data |= {
            "tie_word_embeddings": config.tie_word_embeddings,
            "layer_norm_epsilon": config.layer_norm_epsilon,
            "initializer_range": config.initializer_range,
            "rescale_prenorm_residual": config.rescale_prenorm_residual,
            "max_position_embeddings": config.max_position_embeddings,
            **write_tokens(config),
        }
        if "n_routed_experts" in data:
            data["n_shared_experts"] = 1  # vLLM multiplies the shared width by it
        data = encode_floats(data)
        require_same(config, self.read_config(data), "nemotron_h")
        return data

    def _write_block(self, data: Json, block: BlockConfig, where: str) -> None:
        if isinstance(block, AttentionConfig) and block.attention_bias:
            raise InexpressibleError(
                f"{where} attention_bias", True, "transformers ignores it in nemotron_h"
            )
        names = BLOCK_KEYS[type(block).letter][1]
        values = {f.name: getattr(block, f.name) for f in fields(block) if f.name in names}
        if values.get("moe_latent_size", 0) is None:
            del values["moe_latent_size"]  # the published plain models have no such key
        data |= values

    def layout(self, config: ModelConfig, *, per_expert: bool = True) -> list[Stored]:
        """Names of specs/architecture 2; MTP tensors keep their `mtp.` prefix."""
        specs = config.tensors()
        out: list[Stored] = []
        if config.tie_word_embeddings:  # transformers never ties this family: give it the copy
            out.append(whole("lm_head.weight", "embeddings.weight", specs["embeddings.weight"]))
        plain = {
            "embeddings.weight": "backbone.embeddings.weight",
            "norm_f.weight": "backbone.norm_f.weight",
            "lm_head.weight": "lm_head.weight",
        }
        blocks = {f"layers.{i}.mixer": block for i, block in enumerate(config.layers())}
        if config.mtp:
            inner = config.mtp.pattern * config.mtp.num_nextn_predict_layers
            blocks |= {f"mtp.layers.{i}.mixer": config.blocks[c] for i, c in enumerate(inner)}
        done: set[str] = set()
        for name, spec in specs.items():
            path = name.partition(".mixer.")[0] + ".mixer"
            stored = name if name.startswith("mtp.") else f"backbone.{name}"
            if path in blocks and ".mixer." in name:
                if path not in done:
                    done.add(path)
                    prefix = path if path.startswith("mtp.") else f"backbone.{path}"
                    out += mixer(
                        blocks[path], config.hidden_size, path, prefix, per_expert=per_expert
                    )
            else:
                out.append(whole(plain.get(name, stored), name, spec))
        return out

    def canonical(self, name: str) -> str:
        """`model.` is what transformers 5 calls `backbone.` in memory."""
        return f"backbone.{name[6:]}" if name.startswith("model.") else name
