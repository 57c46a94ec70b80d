"""Sizes of the mixture-of-experts block, plain or latent (specs/architecture 2.6, 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from nautiloid.model.blocks.config import BlockConfig, Flops, Kept, TensorSpec, block, require
from nautiloid.model.blocks.mlp.config import Activation, mlp_tensors


@block("moe")
@dataclass(frozen=True, kw_only=True)
class MoEConfig(BlockConfig):
    """Top-k routed experts plus one shared expert.

    With `moe_latent_size` the routed experts work in that width behind one down and one up
    projection a layer (LatentMoE); router and shared expert always see the full width.
    """

    letter: ClassVar[str] = "E"
    prunable: ClassVar[tuple[str, ...]] = (
        "n_routed_experts",
        "moe_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "moe_latent_size",
    )

    n_routed_experts: int = 8
    num_experts_per_tok: int = 2
    moe_intermediate_size: int = 7688
    moe_shared_expert_intermediate_size: int = 7688
    moe_latent_size: int | None = None
    n_group: int = 1
    topk_group: int = 1
    norm_topk_prob: bool = True
    routed_scaling_factor: float = 1.0
    router_score: Literal["sigmoid", "softmax"] = "sigmoid"
    has_correction_bias: bool = True
    mlp_hidden_act: Activation = "relu2"
    is_gated: bool = False
    mlp_bias: bool = False

    def __post_init__(self) -> None:
        for name in ("n_routed_experts", "num_experts_per_tok", "moe_intermediate_size", "n_group"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "use at least 1")
        require(
            self.moe_shared_expert_intermediate_size >= 0,
            "moe_shared_expert_intermediate_size",
            self.moe_shared_expert_intermediate_size,
            "use 0 (no shared expert) or a width",
        )
        require(
            self.num_experts_per_tok <= self.n_routed_experts,
            "num_experts_per_tok",
            self.num_experts_per_tok,
            f"at most n_routed_experts ({self.n_routed_experts})",
        )
        require(
            self.moe_latent_size is None or self.moe_latent_size >= 1,
            "moe_latent_size",
            self.moe_latent_size,
            "use None or at least 1",
        )
        require(
            self.n_routed_experts % self.n_group == 0,
            "n_group",
            self.n_group,
            f"it must divide n_routed_experts ({self.n_routed_experts})",
        )
        require(
            1 <= self.topk_group <= self.n_group,
            "topk_group",
            self.topk_group,
            f"use 1 to n_group ({self.n_group})",
        )
        per_group = self.n_routed_experts // self.n_group
        if self.n_group > 1:
            require(per_group >= 2, "n_group", self.n_group, "each group needs at least 2 experts")
            require(
                self.num_experts_per_tok <= self.topk_group * per_group,
                "topk_group",
                self.topk_group,
                f"the kept groups hold fewer experts than num_experts_per_tok ({self.num_experts_per_tok})",
            )

    def tensors(self, d: int) -> dict[str, TensorSpec]:
        """Router, stacked routed experts [E, m, l] and [E, l, m], shared expert, latent projections."""
        e, m = self.n_routed_experts, self.moe_intermediate_size
        l = self.moe_latent_size or d
        share = self.num_experts_per_tok / e
        specs = {"router.weight": TensorSpec((e, d))}
        if self.has_correction_bias:
            specs["router.e_score_correction_bias"] = TensorSpec(
                (e,), init="zeros", is_fp32=True, is_buffer=True
            )
        for name in ("gate_proj", "up_proj") if self.is_gated else ("up_proj",):
            specs[f"experts.{name}"] = TensorSpec((e, m, l), "experts", active=share)
        specs["experts.down_proj"] = TensorSpec((e, l, m), "experts", "residual", active=share)
        if self.moe_shared_expert_intermediate_size:
            shared = mlp_tensors(
                d,
                self.moe_shared_expert_intermediate_size,
                is_gated=self.is_gated,
                has_bias=self.mlp_bias,
            )
            specs |= {f"shared_experts.{k}": v for k, v in shared.items()}
        if self.moe_latent_size:
            specs["fc1_latent_proj.weight"] = TensorSpec((l, d))
            specs["fc2_latent_proj.weight"] = TensorSpec((d, l), init="residual")
        return specs

    def flops(self, d: int) -> Flops:
        """Routed 4 l m k, shared 4 d sh, router 2 d E, latent 4 d l (6 instead of 4 when gated)."""
        per = 6 if self.is_gated else 4
        l = self.moe_latent_size or d
        routed = per * l * self.moe_intermediate_size * self.num_experts_per_tok
        shared = per * d * self.moe_shared_expert_intermediate_size
        latent = 4 * d * l if self.moe_latent_size else 0
        return Flops(routed + shared + 2 * d * self.n_routed_experts + latent)

    def rows(self, tokens: int) -> int:
        """Rows that the assignments of so many tokens may take, each expert padded to 64."""
        return tokens * self.num_experts_per_tok + 63 * self.n_routed_experts

    def kept(self, d: int, tokens: int) -> list[Kept]:
        """Scores, choices, what the experts' activation sees, shared expert, latent vectors."""
        branches = 2 if self.is_gated else 1
        found = [
            Kept(tokens * 4 * self.n_routed_experts, "router"),
            Kept(tokens * 24 * self.num_experts_per_tok),
            Kept(self.rows(tokens) * 2 * self.moe_intermediate_size * branches),
        ]
        shared = tokens * 2 * self.moe_shared_expert_intermediate_size
        if shared:
            found += [Kept(shared * branches), Kept(shared, "activation")]
        if self.moe_latent_size:
            latent = tokens * 2 * self.moe_latent_size
            found += [Kept(latent, "latent"), Kept(latent)]
        return found

    def work(self, d: int, tokens: int) -> float:
        """Rows of the experts' outputs, and what lies on both sides of their activation."""
        middle = self.moe_intermediate_size * (3 if self.is_gated else 2)
        return self.rows(tokens) * 2 * ((self.moe_latent_size or d) + middle)
