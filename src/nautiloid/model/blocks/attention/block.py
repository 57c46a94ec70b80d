"""The attention mixer (specs/architecture 2.4).

Suffixes: T tokens, S sequences, D hidden size, Q query heads, V key/value heads, H head width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nautiloid.core.errors import InputError
from nautiloid.model.blocks.attention.config import AttentionConfig
from nautiloid.model.blocks.base import Block
from nautiloid.model.context import Context
from nautiloid.model.linear import Linear, RMSNorm, Segments
from nautiloid.model.views import StateView
from nautiloid.ops import attention, compiled, norm
from nautiloid.ops.backends import has
from nautiloid.ops.config import OpsConfig

if TYPE_CHECKING:
    from nautiloid.ops.attention.paged import Pages


class AttentionMix(nn.Module):
    """Attention over packed sequences and, with a state, over what they cached; no parameters."""

    def __init__(self, config: AttentionConfig, ops: OpsConfig, layer: str):
        super().__init__()
        self.config = config
        self.layer = layer
        self.scale = config.head_dim**-0.5
        self.attention = attention.pick(ops.attention)
        self.is_compiled = compiled.is_wanted(ops.attention)
        self.has_kernels = has("triton") and ops.attention in ("auto", "triton")
        self.is_plain = (
            ops.attention != "reference"
            and config.is_causal
            and config.sliding_window is None
            and not config.has_sinks
        )

    def decodes(self, q: Tensor, state: StateView | None) -> bool:
        """Whether `decode` takes these queries: a few new tokens of sequences with a past, on a GPU."""
        if state is None or not (q.is_cuda and self.has_kernels and self.is_plain):
            return False
        is_known = q.dtype in (torch.float32, torch.bfloat16, torch.float16)
        return is_known and state.is_paged and (state.is_verify or state.is_step)

    def decode(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        state: StateView,
        norms: tuple[RMSNorm, RMSNorm] | None,
    ) -> Tensor:
        """Projected `q [T, Q, H]`, `k, v [T, V, H]` to `[T, Q, H]`, norm and rotation included."""
        from nautiloid.ops.attention import paged

        rope, width = self.config.rope, 0
        if rope is not None:
            width = int(self.config.head_dim * rope.partial_rotary_factor)
        heads = paged.HeadInputs(
            q_weight_H=norms[0].weight if norms else None,
            k_weight_H=norms[1].weight if norms else None,
            eps=norms[0].eps if norms else 0.0,
            theta=rope.rope_theta if rope else 1.0,
            width=width,
        )
        return paged.decode(
            q, k, v, _pages(state, self.layer), state.slot_S, state.past_S, scale=self.scale,
            heads=heads, first_key=state.first_key,
        )  # fmt: skip

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
        # rows without keys are cut off one sequence at a time
        is_step &= state.first_key == 0
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
        if self.is_plain and self.has_kernels and state.is_paged and q.is_cuda:
            from nautiloid.ops.attention import paged

            if paged.can_extend(q):
                return paged.extend(
                    q, _pages(state, self.layer), state.slot_S, state.lengths, state.totals,
                    scale=self.scale, first_key=state.first_key,
                )  # fmt: skip
        if self.is_plain and is_step:
            keys, values = (state.gather(self.layer, name).to(q.dtype) for name in ("k", "v"))
            same = len(set(state.totals)) == 1
            totals = None if same else torch.tensor(state.totals, device=q.device)
            return attention.sdpa.decode(q, keys, values, totals, scale=self.scale)
        outputs: list[Tensor] = []
        for s, part in enumerate(q.split(list(ctx.lengths))):
            keys, values = (
                state.sequence(self.layer, name, s)[state.first_key :].to(q.dtype)
                for name in ("k", "v")
            )
            if self.is_plain:
                outputs.append(attention.sdpa.extend(part, keys, values, scale=self.scale))
            else:
                outputs.append(attention.reference.attend(part, keys, values, **options))
        return torch.cat(outputs)


def _pages(state: StateView, layer: str) -> Pages:
    from nautiloid.ops.attention.paged import Pages

    keys, values = (state.store.pages[layer][name] for name in ("k", "v"))
    return Pages(keys, values, state.page_table, state.store.page_tokens)


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
            wide = {**where, "dtype": norm.wide(where.get("dtype") or torch.get_default_dtype())}
            self.sinks = nn.Parameter(torch.empty(config.num_attention_heads, **wide))
        self.o_proj = Linear(config.segments["q"], d, has_bias=config.attention_bias, **where)
        self.mix = AttentionMix(config, ops, layer)

    def forward(self, x_TD: Tensor, ctx: Context) -> Tensor:
        """Mix tokens by attention."""
        c = self.config
        q, k, v = self.qkv(x_TD).split(list(c.segments.values()), dim=-1)
        q, k, v = (x.unflatten(-1, (-1, c.head_dim)) for x in (q, k, v))
        if ctx.state is not None and self.mix.decodes(q, ctx.state):
            norms = (self.q_norm, self.k_norm) if c.qk_norm else None
            return self.o_proj(self.mix.decode(q, k, v, ctx.state, norms).flatten(-2))
        if c.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        if c.rope is not None:
            width = int(c.head_dim * c.rope.partial_rotary_factor)
            q, k = (attention.rotate(x, ctx.positions_T, c.rope.rope_theta, width) for x in (q, k))
        return self.o_proj(self.mix(q, k, v, self.sinks, ctx).flatten(-2))
