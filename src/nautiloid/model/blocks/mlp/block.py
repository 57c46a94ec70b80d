"""The dense MLP (specs/architecture 2.5).

Suffixes: T tokens, D hidden size.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from nautiloid.model.blocks.base import Block
from nautiloid.model.blocks.mlp.config import Activation, MLPConfig
from nautiloid.model.context import Context
from nautiloid.model.linear import Linear
from nautiloid.model.memory import Memory
from nautiloid.ops.activation import activate
from nautiloid.ops.config import OpsConfig


class FeedForward(nn.Module):
    """`down(act(up(x)))`, or `down(act(gate(x)) * up(x))`; also the shared expert."""

    def __init__(
        self,
        d: int,
        width: int,
        activation: Activation,
        *,
        is_gated: bool,
        has_bias: bool,
        **where: Any,
    ):
        super().__init__()
        self.activation: Activation = activation
        self.gate_proj = Linear(d, width, has_bias=has_bias, **where) if is_gated else None
        self.up_proj = Linear(d, width, has_bias=has_bias, **where)
        self.down_proj = Linear(width, d, has_bias=has_bias, **where)
        self.memory: Memory | None = None

    def forward(self, x_TD: Tensor) -> Tensor:
        """Apply to each token."""
        gate = None if self.gate_proj is None else self.gate_proj(x_TD)
        h = self.up_proj(x_TD)
        a = activate(h, gate, self.activation)
        if self.memory is None or not self.memory.drops("activation"):
            return self.down_proj(a)
        kept, kept_gate = h.detach(), None if gate is None else gate.detach()
        with self.memory.discard(
            "activation", a, lambda: activate(kept, kept_gate, self.activation)
        ):
            return self.down_proj(a)


class MLP(Block[MLPConfig], FeedForward):
    """The dense block: one `FeedForward`."""

    def __init__(
        self, config: MLPConfig, d: int, eps: float, ops: OpsConfig, layer: str, **where: Any
    ):
        FeedForward.__init__(
            self,
            d,
            config.intermediate_size,
            config.mlp_hidden_act,
            is_gated=config.is_gated,
            has_bias=config.mlp_bias,
            **where,
        )
        self.config = config
        self.d, self.eps, self.ops, self.layer = d, eps, ops, layer

    def forward(self, x_TD: Tensor, ctx: Context) -> Tensor:  # type: ignore[override]
        """Apply to each token."""
        return FeedForward.forward(self, x_TD)
