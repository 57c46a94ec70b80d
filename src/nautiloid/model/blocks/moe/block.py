"""The mixture of experts, plain or latent (specs/architecture 2.6, 5, 6).

Suffixes: T tokens, D hidden size, L expert input width, E experts, K experts a token.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nautiloid.model.blocks.base import Block
from nautiloid.model.blocks.mlp.block import FeedForward
from nautiloid.model.blocks.moe.config import MoEConfig
from nautiloid.model.context import Context
from nautiloid.model.linear import Experts, Linear
from nautiloid.model.memory import Memory
from nautiloid.ops import moe, norm
from nautiloid.ops.activation import add
from nautiloid.ops.config import OpsConfig


class Router(nn.Module):
    """Scores all experts, in float32, with a correction bias that steers the choice."""

    def __init__(self, experts: int, d: int, *, has_bias: bool, **where: Any):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, d, **where))
        dtype = norm.wide(self.weight.dtype)
        bias = torch.zeros(experts, dtype=dtype, device=self.weight.device) if has_bias else None
        self.register_buffer("e_score_correction_bias", bias)
        self.e_score_correction_bias: Tensor | None


class ExpertsMix(nn.Module):
    """Dispatch to experts and weighted sum; plain tensors in and out, no parameters."""

    def __init__(self, config: MoEConfig, ops: OpsConfig):
        super().__init__()
        self.activation: moe.reference.Activation = config.mlp_hidden_act
        self.experts = moe.pick(ops.experts)

    def forward(
        self,
        x_TL: Tensor,
        experts_TK: Tensor,
        weights_TK: Tensor,
        up: Tensor,
        down: Tensor,
        gate: Tensor | None,
    ) -> Tensor:
        """[T, L] to [T, L]."""
        return self.experts(x_TL, experts_TK, weights_TK, up, down, gate, self.activation)

    def fixed(
        self,
        x_TL: Tensor,
        experts_TK: Tensor,
        weights_TK: Tensor,
        up: Tensor,
        down: Tensor,
        gate: Tensor | None,
    ) -> Tensor:
        """The same by products whose shapes do not follow the choices."""
        return moe.fixed.experts(x_TL, experts_TK, weights_TK, up, down, gate, self.activation)


class MoE(Block[MoEConfig]):
    """Router, routed experts (behind the latent projections if any), shared expert."""

    def __init__(
        self, config: MoEConfig, d: int, eps: float, ops: OpsConfig, layer: str, **where: Any
    ):
        super().__init__(config, d, eps, ops, layer)
        self.router = Router(
            config.n_routed_experts, d, has_bias=config.has_correction_bias, **where
        )
        latent = config.moe_latent_size
        self.experts = Experts(
            config.n_routed_experts,
            config.moe_intermediate_size,
            latent or d,
            is_gated=config.is_gated,
            **where,
        )
        self.shared_experts = None
        if config.moe_shared_expert_intermediate_size:
            self.shared_experts = FeedForward(
                d,
                config.moe_shared_expert_intermediate_size,
                config.mlp_hidden_act,
                is_gated=config.is_gated,
                has_bias=config.mlp_bias,
                **where,
            )
        self.fc1_latent_proj = Linear(d, latent, **where) if latent else None
        self.fc2_latent_proj = Linear(latent, d, **where) if latent else None
        self.mix = ExpertsMix(config, ops)
        self.memory: Memory | None = None

    def _always(self) -> moe.Weights | None:
        """The shared expert as more routed experts of the same width and input, where it is that."""
        shared, width = self.shared_experts, self.config.moe_intermediate_size
        if shared is None or self.fc1_latent_proj is not None:
            return None
        up, down, gate = shared.up_proj, shared.down_proj, shared.gate_proj
        is_plain = all(
            m is None or (m.bias is None and m.activation_format == self.experts.activation_format)
            for m in (up, down, gate)
        )
        if not is_plain or up.weight.shape[0] % width:
            return None
        return (
            up.weight_operand(up.weight),
            down.weight_operand(down.weight),
            None if gate is None else gate.weight_operand(gate.weight),
        )

    def _few(self, x_TD: Tensor, ctx: Context) -> Tensor:
        """`forward` where weights, not products, bound the work: the shared expert runs along."""
        experts_TK, weights_TK = self.route(x_TD, ctx, is_few=True)
        always = self._always() if x_TD.shape[0] <= moe.ALONG_TOKENS else None
        latent = self.fc1_latent_proj
        a = self.experts.input_operand(x_TD if latent is None else latent(x_TD))
        routed, activation = self.experts.operands(), self.mix.activation
        y = moe.few_experts(a, experts_TK, weights_TK, routed, always, activation)
        if self.fc2_latent_proj is not None:
            y = self.fc2_latent_proj(y)
        if self.shared_experts is None or always is not None:
            return y
        return add(y, self.shared_experts(x_TD))

    def route(self, x_TD: Tensor, ctx: Context, *, is_few: bool = False) -> tuple[Tensor, Tensor]:
        """Experts and weights [T, K], by the router or the recorded routes; notes statistics."""
        c = self.config
        replay = None if ctx.replay is None else ctx.replay[ctx.moe_index]
        ctx.moe_index += 1
        rows = ctx.row_lengths or ctx.lengths

        def run(x_TD: Tensor) -> tuple[Tensor, ...]:
            routing = moe.router(
                x_TD,
                self.router.weight,
                self.router.e_score_correction_bias,
                c.num_experts_per_tok,
                backend=self.ops.experts,
                is_few=is_few,
                n_group=c.n_group,
                topk_group=c.topk_group,
                norm_topk_prob=c.norm_topk_prob,
                scaling=c.routed_scaling_factor,
                score=c.router_score,
                replay_TK=replay,
            )
            chosen = routing.experts_TK, routing.weights_TK
            if not ctx.collect_aux:
                return chosen
            balance = moe.balance_loss(routing.scores_TE, c.num_experts_per_tok, rows, ctx.valid_T)
            return *chosen, balance

        drops = self.memory is not None and self.memory.drops("router")
        experts_TK, weights_TK, *balance = (
            self.memory.checkpoint("router", run, x_TD) if drops and self.memory else run(x_TD)
        )
        ctx.balance += balance
        if ctx.collect_routes:
            ctx.routes.append(experts_TK.to(torch.int16))
        if ctx.collect_aux:
            ctx.counts.append(moe.count_choices(experts_TK, c.n_routed_experts, ctx.valid_T))
        return experts_TK, weights_TK

    def forward(self, x_TD: Tensor, ctx: Context) -> Tensor:
        """Mix channels by the chosen experts."""
        c = self.config
        if not ctx.is_exact and moe.is_few(
            x_TD, c.n_routed_experts, c.num_experts_per_tok, self.ops.experts
        ):
            return self._few(x_TD, ctx)
        chosen = self.route(x_TD, ctx)
        latent, memory = self.fc1_latent_proj, self.memory
        mix = self.mix.fixed if ctx.is_exact and not x_TD.is_cuda else self.mix
        a = x_TD if latent is None else latent(x_TD)
        if self.experts.is_packed:
            y = moe.packed.experts(
                self.experts.input_operand(a), *chosen, *self.experts.packed_operands(),
                self.mix.activation, backend=self.ops.experts,
            )  # fmt: skip
        elif latent is None or memory is None or not memory.drops("latent"):
            y = mix(self.experts.input_operand(a), *chosen, *self.experts.operands())
        else:
            kept = x_TD.detach()
            with memory.discard("latent", a, lambda: latent(kept)):
                y = mix(self.experts.input_operand(a), *chosen, *self.experts.operands())
        if self.fc2_latent_proj is not None:
            y = self.fc2_latent_proj(y)
        return y if self.shared_experts is None else add(y, self.shared_experts(x_TD))
