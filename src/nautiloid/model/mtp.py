"""Multi-token prediction (specs/architecture 4.1).

Suffixes: T tokens, D hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from nautiloid.model.blocks.base import build_block
from nautiloid.model.config import ModelConfig
from nautiloid.model.context import Context
from nautiloid.model.linear import Linear, ResidualNorm, RMSNorm
from nautiloid.model.memory import Memory
from nautiloid.model.residual import residual
from nautiloid.ops.config import OpsConfig
from nautiloid.ops.norm import Norms
from nautiloid.ops.packing import to_device


def shift_within(x_T: Tensor, lengths: Sequence[int], by: int, fill: float = 0) -> Tensor:
    """Shift left by `by` inside each sequence, filling its end.

    >>> shift_within(torch.tensor([1, 2, 3, 4, 5]), [3, 2], 1).tolist()
    [2, 3, 0, 5, 0]
    """
    if by == 0:
        return x_T
    out = torch.full_like(x_T, fill)
    out[:-by] = x_T[by:]
    return out.masked_fill_(_past_the_end(tuple(lengths), by, x_T.device), fill)


@lru_cache(maxsize=64)
def _past_the_end(lengths: tuple[int, ...], by: int, device: torch.device) -> Tensor:
    """bool [T]: the last `by` positions of each sequence."""
    ends = torch.tensor(lengths).cumsum(0)
    starts = torch.maximum(ends - by, ends - torch.tensor(lengths))
    last = torch.repeat_interleave(starts, torch.tensor(lengths))
    return to_device(torch.arange(int(ends[-1])) >= last, device, torch.bool)


class MTPLayer(nn.Module):
    """One inner block; the first also fuses embedding and hidden, the last also normalises."""

    def __init__(self, config: ModelConfig, index: int, ops: OpsConfig, norms: Norms, **where: Any):
        super().__init__()
        assert config.mtp is not None
        d, eps = config.hidden_size, config.layer_norm_epsilon
        position = index % len(config.mtp.pattern)
        self.enorm = self.hnorm = self.eh_proj = self.final_layernorm = None
        if position == 0:
            self.enorm = RMSNorm(d, eps, norms.rms_norm, **where)
            self.hnorm = RMSNorm(d, eps, norms.rms_norm, **where)
            self.eh_proj = Linear(2 * d, d, **where)
        self.norm = ResidualNorm(d, eps, norms, **where)
        block = config.blocks[config.mtp.pattern[position]]
        self.mixer = build_block(block, d, eps, ops, f"mtp.layers.{index}", **where)
        if position == len(config.mtp.pattern) - 1:
            self.final_layernorm = ResidualNorm(d, eps, norms, **where)
        self.memory: Memory | None = None

    def fuse(self, embedding_TD: Tensor, hidden_TD: Tensor) -> Tensor:
        """`eh_proj([enorm(e), hnorm(g)])`: embedding first."""
        assert self.enorm is not None
        assert self.hnorm is not None
        assert self.eh_proj is not None
        return self.eh_proj(torch.cat([self.enorm(embedding_TD), self.hnorm(hidden_TD)], -1))

    def forward(self, u_TD: Tensor, delta_TD: Tensor | None, ctx: Context) -> tuple[Tensor, Tensor]:
        """The residual block as in the trunk; the last layer of a step gives its final norm second."""
        u_TD, delta_TD = residual(self.norm, self.mixer, u_TD, delta_TD, ctx, self.memory, None)
        last = self.final_layernorm
        return (u_TD, delta_TD) if last is None else last(u_TD, delta_TD)


class MTP(nn.Module):
    """The physical sets of MTP layers, applied as often as there are token rows."""

    def __init__(self, config: ModelConfig, ops: OpsConfig, norms: Norms, **where: Any):
        super().__init__()
        assert config.mtp is not None
        self.size = len(config.mtp.pattern)
        self.sets = config.mtp.num_nextn_predict_layers
        self.layers = nn.ModuleList(
            MTPLayer(config, i, ops, norms, **where) for i in range(self.size * self.sets)
        )

    def forward(
        self,
        hidden_TD: Tensor,
        tokens: Sequence[Tensor],
        embed: Callable[[Tensor], Tensor],
        ctx: Context,
    ) -> tuple[Tensor, ...]:
        """Hidden states of each depth.

        Args:
            hidden_TD: Trunk output after its final norm, g_0.
            tokens: For depth j the token t + j at each position t, 0 past the end.
            embed: The trunk's embedding.
            ctx: Packing of the forward.
        """
        outputs: list[Tensor] = []
        g = hidden_TD
        for depth, ids in enumerate(tokens):
            g = self._run(self._set(depth), g, ids, embed, ctx)
            outputs.append(g)
        return tuple(outputs)

    def fill(
        self,
        hidden_TD: Tensor,
        tokens_T: Tensor,
        embed: Callable[[Tensor], Tensor],
        ctx: Context,
    ) -> None:
        """Run the first set as far as it writes states; nothing comes of the rest."""
        layers = self._set(0)
        last = max((i for i, x in enumerate(layers) if x.mixer.config.states()), default=-1)
        if last >= 0:
            self._run(layers[: last + 1], hidden_TD, tokens_T, embed, ctx)

    def _set(self, depth: int) -> list[MTPLayer]:
        first = min(depth, self.sets - 1) * self.size
        return list(self.layers[first : first + self.size])  # type: ignore[arg-type]

    @staticmethod
    def _run(
        layers: list[MTPLayer],
        hidden_TD: Tensor,
        tokens_T: Tensor,
        embed: Callable[[Tensor], Tensor],
        ctx: Context,
    ) -> Tensor:
        u, delta = layers[0].fuse(embed(tokens_T), hidden_TD), None
        for layer in layers:
            u, delta = layer(u, delta, ctx)
        assert delta is not None
        return delta
