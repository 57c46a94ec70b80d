"""The attention mixer (specs/architecture 2.4).

Suffixes: T tokens, S sequences, D hidden size, Q query heads, V key/value heads, H head width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nautiloid.core.errors import InputError
from nautiloid.model.blocks.attention.config import AttentionConfig
from nautiloid.model.blocks.base import Block
from nautiloid.model.context import Context
from nautiloid.model.linear import Linear, RMSNorm, Segments
from nautiloid.ops import attention, compiled, norm
from nautiloid.ops.config import OpsConfig


class AttentionMix(nn.Module):
    """Attention over packed sequences and, with a state, over what they cached; no parameters."""

    def __init__(self, config: AttentionConfig, ops: OpsConfig, layer: str):
        super().__init__()
        self.config = config
        self.layer = layer
        self.scale = config.head_dim**-0.5
        self.attention = attention.pick(ops.attention)
        self.is_compiled = compiled.is_wanted(ops.attention)
        self.is_plain = (
            ops.attention != "reference"
            and config.is_causal
            and config.sliding_window is None
            and not config.has_sinks
        )

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, ctx: Context
    ) -> Tensor:
        """`q [T, Q, H]`, `k, v [T, V, H]` to `[T, Q, H]`."""
        options = {
            "scale": self.scale,
            "is_causal": self.config.is_causal,
            "window": self.config.sliding_window,
            "sinks_Q": sinks,
        }
        state = ctx.state
        if state is None:
            return self.attention(q, k, v, ctx.lengths, **options)
        if not self.config.is_causal:
            raise InputError(
                "is_causal", False, "a bidirectional block keeps no state; run it whole"
            )
        is_step = len(ctx.lengths) == q.shape[0] and not state.is_fresh
        if is_step and self.is_plain and self.is_compiled:
            keys, values = (state.pages_of(self.layer, name) for name in ("k", "v"))
            rows = (q, k, v)
            if compiled.fits(keys, values) and all(
                x.is_cpu and x.dtype == torch.float32 and x[0].is_contiguous() for x in rows
            ):
                from nautiloid.ops.attention.jit import decode

                page = state.store.page_tokens
                return decode(*rows, keys, values, state.table, page, scale=self.scale)
        state.append(self.layer, "k", k)
        state.append(self.layer, "v", v)
        if state.is_fresh:
            return self.attention(q, k, v, ctx.lengths, **options)
        if self.is_plain and is_step:
            keys, values = (state.gather(self.layer, name).to(q.dtype) for name in ("k", "v"))
            same = len(set(state.totals)) == 1
            totals = None if same else torch.tensor(state.totals, device=q.device)
            return attention.sdpa.decode(q, keys, values, totals, scale=self.scale)
        outputs: list[Tensor] = []
        for s, part in enumerate(q.split(list(ctx.lengths))):
            keys, values = (state.sequence(self.layer, name, s).to(q.dtype) for name in ("k", "v"))
            if self.is_plain:
                outputs.append(attention.sdpa.extend(part, keys, values, scale=self.scale))
            else:
                outputs.append(attention.reference.attend(part, keys, values, **options))
        return torch.cat(outputs)


class Attention(Block[AttentionConfig]):
    """Query, key and value projections, `AttentionMix`, output projection."""

    def __init__(
        self,
        config: AttentionConfig,
        d: int,
        eps: float,
        ops: OpsConfig,
        layer: str,
        **where: Any,
    ):
        super().__init__(config, d, eps, ops, layer)
        self.qkv = Segments(d, config.segments, has_bias=config.attention_bias, **where)
        rms_norm = norm.pick(ops.norm).rms_norm
        if config.qk_norm:
            self.q_norm = RMSNorm(config.head_dim, eps, rms_norm, **where)
            self.k_norm = RMSNorm(config.head_dim, eps, rms_norm, **where)
        self.sinks = None
        if config.has_sinks:
            self.sinks = nn.Parameter(torch.empty(config.num_attention_heads, **where))
        self.o_proj = Linear(config.segments["q"], d, has_bias=config.attention_bias, **where)
        self.mix = AttentionMix(config, ops, layer)

    def forward(self, x_TD: Tensor, ctx: Context) -> Tensor:
        """Mix tokens by attention."""
        c = self.config
        q, k, v = self.qkv(x_TD).split(list(c.segments.values()), dim=-1)
        q, k, v = (x.unflatten(-1, (-1, c.head_dim)) for x in (q, k, v))
        if c.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        if c.rope is not None:
            width = int(c.head_dim * c.rope.partial_rotary_factor)
            q, k = (attention.rotate(x, ctx.positions_T, c.rope.rope_theta, width) for x in (q, k))
        return self.o_proj(self.mix(q, k, v, self.sinks, ctx).flatten(-2))
