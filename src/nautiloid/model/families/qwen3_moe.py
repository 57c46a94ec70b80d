"""Qwen3 mixture of experts: the dense family with softmax-routed gated experts in most layers."""

from __future__ import annotations

from typing import ClassVar

from nautiloid.core.errors import InputError
from nautiloid.model.blocks.config import BlockConfig
from nautiloid.model.blocks.mlp.config import MLPConfig
from nautiloid.model.blocks.moe.config import MoEConfig
from nautiloid.model.families.qwen3 import Qwen3, read_mlp
from nautiloid.model.family import Family, Json, Keys


@Family.registry("qwen3_moe")
class Qwen3Moe(Qwen3):
    """`mlp_only_layers` and `decoder_sparse_step` say which layers keep a dense MLP."""

    model_type: ClassVar[str] = "qwen3_moe"
    architecture: ClassVar[str] = "Qwen3MoeForCausalLM"
    no_effect: ClassVar[tuple[str, ...]] = (
        *Qwen3.no_effect, "intermediate_size", "num_experts", "num_experts_per_tok",
        "moe_intermediate_size", "norm_topk_prob", "router_aux_loss_coef",
    )  # fmt: skip

    def _head_dim(self, hidden_size: int, heads: int) -> int:
        return hidden_size // heads

    def _attention_letters(self, keys: Keys, layers: int, window: int | None) -> str:
        return ("W" if window else "*") * layers

    def _write_layers(self, windows: list[int | None]) -> Json:
        return {}

    def _read_mlps(self, keys: Keys, layers: int) -> tuple[dict[str, BlockConfig], str]:
        step = keys.take("decoder_sparse_step", int, 1)
        if step < 1:
            raise InputError("decoder_sparse_step", step, "use at least 1")
        dense = keys.take("mlp_only_layers", list[int] | None, None) or []
        for i in dense:
            if not 0 <= i < layers:
                raise InputError("mlp_only_layers", i, f"layers are 0 to {layers - 1}")
        letters = "".join("-" if i in dense or (i + 1) % step else "E" for i in range(layers))
        blocks: dict[str, BlockConfig] = {}
        if "-" in letters:
            blocks["-"] = read_mlp(keys)
        if "E" in letters:
            blocks["E"] = MoEConfig(
                n_routed_experts=keys.take("num_experts", int, 128),
                num_experts_per_tok=keys.take("num_experts_per_tok", int, 8),
                moe_intermediate_size=keys.take("moe_intermediate_size", int, 768),
                moe_shared_expert_intermediate_size=0,
                norm_topk_prob=keys.take("norm_topk_prob", bool, False),
                router_score="softmax",
                has_correction_bias=False,
                mlp_hidden_act="silu",
                is_gated=True,
            )
        return blocks, letters

    def _write_mlps(self, blocks: list[BlockConfig]) -> Json:
        data: Json = {
            "decoder_sparse_step": 1,
            "mlp_only_layers": [
                i for i, block in enumerate(blocks) if isinstance(block, MLPConfig)
            ],
        }
        for block in blocks:
            if isinstance(block, MLPConfig):
                data["intermediate_size"] = block.intermediate_size
            elif isinstance(block, MoEConfig):
                data["num_experts"] = block.n_routed_experts
                data["num_experts_per_tok"] = block.num_experts_per_tok
                data["moe_intermediate_size"] = block.moe_intermediate_size
                data["norm_topk_prob"] = block.norm_topk_prob
        return data
