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
from nautiloid.ops.config import OpsConfig
from nautiloid.ops.moe import activate


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

    def forward(self, x_TD: Tensor) -> Tensor:
        """Apply to each token."""
        gate = None if self.gate_proj is None else self.gate_proj(x_TD)
        return self.down_proj(activate(self.up_proj(x_TD), gate, self.activation))


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
