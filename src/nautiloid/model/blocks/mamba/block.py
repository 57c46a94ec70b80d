"""The Mamba-2 mixer (specs/architecture 2.2, 2.3, 3).

Suffixes: T tokens, S sequences, D hidden size, R projected rows, C convolution channels, H heads,
P head width, G groups, N state size.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nautiloid.model.blocks.base import Block
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.context import Context
from nautiloid.model.linear import Linear, RMSNorm, Segments
from nautiloid.model.memory import Memory
from nautiloid.model.views import StateView
from nautiloid.ops import compiled, conv, norm, ssd
from nautiloid.ops.backends import has
from nautiloid.ops.config import OpsConfig
from nautiloid.ops.linear import fused_view
from nautiloid.ops.mamba import reference
from nautiloid.ops.mamba.reference import MixerSizes


class ConvSegment(nn.Module):
    """Taps [channels, K] and bias of one segment of the convolution."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)


class Conv(nn.Module):
    """Convolution weights, stored per segment x, B, C."""

    def __init__(self, rows: dict[str, int], taps: int, *, has_bias: bool, **where: Any):
        super().__init__()
        total = sum(rows.values())
        sizes = list(rows.values())
        weights = torch.empty(total, taps, **where).split(sizes)
        biases = torch.empty(total, **where).split(sizes) if has_bias else [None] * len(rows)
        for name, weight, bias in zip(rows, weights, biases, strict=True):
            self.add_module(name, ConvSegment(weight, bias))

    def fused(self) -> tuple[Tensor, Tensor | None]:
        """Taps [C, K] and bias [C] of all segments."""
        parts: list[ConvSegment] = list(self.children())  # type: ignore[arg-type]
        weights: list[Tensor] = [p.weight for p in parts]
        biases: list[Tensor] = [p.bias for p in parts if p.bias is not None]
        if not torch.is_grad_enabled():
            weight = fused_view(weights)
            bias = fused_view(biases) if biases else None
            if weight is not None and (bias is not None or not biases):
                return weight, bias
        return torch.cat(weights), torch.cat(biases) if biases else None


class MambaMix(nn.Module):
    """Everything between the two projections, on the heads and groups it is given.

    It holds no parameters: sharding splits its inputs and nothing else.
    """

    def __init__(self, config: MambaConfig, eps: float, ops: OpsConfig, layer: str):
        super().__init__()
        self.config = config
        self.eps = eps
        self.layer = layer
        self.conv_silu = conv.pick(ops.conv)
        # numerically neutral; 64 is the longest chunk that pays on a CPU
        self.ssd = ssd.pick(ops.ssd, min(config.chunk_size, 64))
        self.norm = norm.pick(ops.norm)
        backends = (ops.ssd, ops.conv, ops.norm)
        self.is_compiled = all(compiled.is_wanted(b) for b in backends)
        self.is_fused = has("triton") and all(b in ("auto", "triton") for b in backends)
        self.salt = zlib.crc32(layer.encode()) >> 1
        self.memory: Memory | None = None

    def step_sizes(self, dt_TH: Tensor, dt_bias_H: Tensor) -> Tensor:
        """`clamp(softplus(dt + bias))`, added in float32 (specs/architecture 3.4)."""
        wide = norm.wide(dt_TH.dtype)
        dt = F.softplus(dt_TH.to(wide) + dt_bias_H.to(wide))
        low, high = self.config.time_step_limit
        return dt if (low, high) == (0.0, float("inf")) else dt.clamp(low, high)

    def forward(
        self,
        projected_TR: Tensor,
        conv_weight_CK: Tensor,
        conv_bias_C: Tensor | None,
        dt_bias_H: Tensor,
        A_log_H: Tensor,
        D_H: Tensor,
        norm_weight_I: Tensor,
        ctx: Context,
    ) -> Tensor:
        """Convolution, scan and gated norm; gives [T, I]."""
        c = self.config
        weights = (conv_weight_CK, conv_bias_C, dt_bias_H, A_log_H, D_H, norm_weight_I)
        y = self._by_slots(projected_TR, *weights, ctx)
        if y is None:
            y = self._compiled(projected_TR, *weights, ctx)
        if y is None:
            y = self._fused(projected_TR, *weights, ctx)
        if y is not None:
            return y
        wide = norm.wide(projected_TR.dtype)
        heads = dt_bias_H.shape[0]
        groups = c.n_groups * heads // c.mamba_num_heads
        inner, bc = heads * c.mamba_head_dim, groups * c.ssm_state_size
        z, xbc, dt = projected_TR.split([inner, inner + 2 * bc, heads], dim=-1)
        dt = self.step_sizes(dt, dt_bias_H)
        A, D = -torch.exp(A_log_H.to(wide)), D_H.to(wide)
        state = ctx.state
        is_step = _is_step(ctx, projected_TR.shape[0])
        if is_step:
            assert state is not None
            conv_state = state.read(self.layer, "conv")
            u = conv.conv_silu_step(conv_state, xbc, conv_weight_CK.t().contiguous(), conv_bias_C)
            state.write(self.layer, "conv", conv_state)
        else:
            if ctx.valid_T is not None:
                xbc = xbc * ctx.valid_T[:, None]
            before = None if state is None else state.initial(self.layer, "conv")
            u, last = self.conv_silu(xbc, conv_weight_CK, conv_bias_C, ctx.lengths, before)
            if state is not None:
                state.write(self.layer, "conv", last)
            if ctx.valid_T is not None:
                # the conv bias would leak through SiLU at padding (specs/architecture 2.2 step 4)
                u = u * ctx.valid_T[:, None]
        x, B, C = u.split([inner, bc, bc], dim=-1)
        x = x.unflatten(-1, (heads, c.mamba_head_dim))
        B, C = (v.unflatten(-1, (groups, c.ssm_state_size)) for v in (B, C))
        if is_step:
            assert state is not None
            h = state.read(self.layer, "ssm")
            current = h.to(wide)
            y = ssd.ssd_step(current, x.to(wide), dt, A, B.to(wide), C.to(wide), D)
            state.write(self.layer, "ssm", current)
        else:
            initial = None if state is None else state.initial(self.layer, "ssm")
            initial = None if initial is None else initial.to(wide)
            y, final = self.ssd(x, dt, A, B, C, D, ctx.lengths, initial)
            if state is not None:
                state.write(self.layer, "ssm", final)
        y = y.flatten(-2)
        return self._normed(
            self.norm.gated_group_norm(y, z, norm_weight_I, groups, self.eps),
            self.norm.gated_group_norm,
            (y, z, norm_weight_I, groups),
        )

    def _normed(
        self, out_TI: Tensor, norm: Callable[..., Tensor], made_of: tuple[Any, ...]
    ) -> Tensor:
        """The gated norm's output, which is formed again where the layer recomputes norms."""
        if self.memory is not None and self.memory.drops("norm"):
            y, z, weight, groups = made_of
            kept = y.detach(), z.detach(), weight, groups, self.eps
            self.memory.leave("norm", out_TI, lambda: norm(*kept))
        return out_TI

    def _sizes(self, dt_bias_H: Tensor, *, keeps_conv: bool = True) -> MixerSizes:
        c = self.config
        groups = c.n_groups * dt_bias_H.shape[0] // c.mamba_num_heads
        return MixerSizes(c.mamba_head_dim, groups, self.eps, c.time_step_limit, keeps_conv)

    def _has_kernels(self, projected_TR: Tensor) -> bool:
        """Whether the GPU operators take these rows."""
        if not (self.is_fused and projected_TR.is_cuda):
            return False
        from nautiloid.ops.ssd.cuda import fits

        return fits(projected_TR.dtype, self.config.mamba_head_dim, self.config.ssm_state_size)

    def _by_slots(
        self,
        projected_TR: Tensor,
        conv_weight_CK: Tensor,
        conv_bias_C: Tensor | None,
        dt_bias_H: Tensor,
        A_log_H: Tensor,
        D_H: Tensor,
        norm_weight_I: Tensor,
        ctx: Context,
    ) -> Tensor | None:
        """Checks of drafts, and on a GPU all of inference with a state, as one operator each."""
        state = ctx.state
        if state is None or not state.is_paged or ctx.valid_T is not None:
            return None
        has_kernels = self._has_kernels(projected_TR) and not torch.is_grad_enabled()
        weights = (conv_weight_CK, conv_bias_C, dt_bias_H, A_log_H, D_H, norm_weight_I)
        sizes = self._sizes(dt_bias_H)
        slots = state.store.slots[self.layer]
        states = slots["conv"], slots["ssm"]
        if state.accepted_S is not None:
            waiting = state.accepted_S, *states, slots["pending"], state.slot_S
            if not has_kernels:
                return reference.verify(projected_TR, *waiting, *weights, sizes)
            from nautiloid.ops.mamba import decode

            return decode.verify(
                projected_TR, *waiting, *weights, sizes, seed=state.seed, salt=self.salt
            )
        if not has_kernels:
            return None
        if state.is_step:
            from nautiloid.ops.mamba import decode

            return decode.step(
                projected_TR,
                *states,
                state.slot_S,
                *weights,
                sizes,
                seed=state.seed,
                salt=self.salt,
            )
        from nautiloid.ops.mamba.cuda import prefill

        initial = state.initial(self.layer, "conv"), state.initial(self.layer, "ssm")
        y, last, final = prefill(projected_TR, *weights, ctx.lengths, sizes, *initial)
        state.write(self.layer, "conv", last)
        state.write(self.layer, "ssm", final)
        return y

    def commit(
        self,
        conv_weight_CK: Tensor,
        conv_bias_C: Tensor | None,
        dt_bias_H: Tensor,
        A_log_H: Tensor,
        D_H: Tensor,
        state: StateView,
    ) -> None:
        """Advance the states by the accepted tokens of the last check of drafts."""
        assert state.accepted_S is not None
        slots = state.store.slots[self.layer]
        waiting = state.accepted_S, slots["conv"], slots["ssm"], slots["pending"], state.slot_S
        weights = (conv_weight_CK, conv_bias_C, dt_bias_H, A_log_H, D_H)
        sizes = self._sizes(dt_bias_H)
        if not self._has_kernels(slots["pending"]):
            return reference.commit(*waiting, *weights, sizes)
        from nautiloid.ops.mamba import decode

        return decode.commit(*waiting, *weights, sizes, seed=state.seed, salt=self.salt)

    def _fused(
        self,
        projected_TR: Tensor,
        conv_weight_CK: Tensor,
        conv_bias_C: Tensor | None,
        dt_bias_H: Tensor,
        A_log_H: Tensor,
        D_H: Tensor,
        norm_weight_I: Tensor,
        ctx: Context,
    ) -> Tensor | None:
        """The whole of `forward` without a state as one GPU operator, where that can run."""
        is_plain = ctx.state is None and ctx.valid_T is None
        if not (is_plain and self.is_fused and projected_TR.is_cuda):
            return None
        from nautiloid.ops.mamba.cuda import mixer_and_scan
        from nautiloid.ops.norm.cuda import gated_forward

        if not self._has_kernels(projected_TR):
            return None
        keeps_conv = self.memory is None or not self.memory.drops("conv")
        sizes = self._sizes(dt_bias_H, keeps_conv=keeps_conv)
        weights = (conv_weight_CK, conv_bias_C, dt_bias_H, A_log_H, D_H, norm_weight_I)
        out, y = mixer_and_scan(projected_TR, *weights, ctx.lengths, sizes)
        z = projected_TR[:, : norm_weight_I.shape[0]]
        return self._normed(out, gated_forward, (y, z, norm_weight_I, sizes.groups))

    def _compiled(
        self,
        projected_TR: Tensor,
        conv_weight_CK: Tensor,
        conv_bias_C: Tensor | None,
        dt_bias_H: Tensor,
        A_log_H: Tensor,
        D_H: Tensor,
        norm_weight_I: Tensor,
        ctx: Context,
    ) -> Tensor | None:
        """The whole of `forward` with a state in one CPU kernel, where that can run."""
        state = ctx.state
        weights = (dt_bias_H, A_log_H, D_H, norm_weight_I)
        if state is None or not state.is_paged or state.is_verify or ctx.valid_T is not None:
            return None
        if not self.is_compiled or torch.is_grad_enabled() or not projected_TR.is_cpu:
            return None
        conv_state, ssm = state.read(self.layer, "conv"), state.read(self.layer, "ssm")
        if not compiled.fits(projected_TR, conv_weight_CK, conv_bias_C, conv_state, ssm, *weights):
            return None
        from nautiloid.ops.mamba.jit import step
        from nautiloid.ops.mamba.jit_prefill import prefill

        c = self.config
        groups = c.n_groups * dt_bias_H.shape[0] // c.mamba_num_heads
        args = (
            projected_TR, conv_state, conv_weight_CK, conv_bias_C,
            *weights, ssm, groups, self.eps, c.time_step_limit,
        )  # fmt: skip
        if _is_step(ctx, projected_TR.shape[0]):
            y = step(*args)
        else:
            y = prefill(*args, ctx.lengths, state.past)
        state.write(self.layer, "conv", conv_state)
        state.write(self.layer, "ssm", ssm)
        return y


def _is_step(ctx: Context, tokens: int) -> bool:
    """Whether every sequence has a past and brings one token."""
    return ctx.state is not None and all(ctx.state.past) and len(ctx.lengths) == tokens


class Mamba(Block[MambaConfig]):
    """Input projection, `MambaMix`, output projection."""

    def __init__(
        self, config: MambaConfig, d: int, eps: float, ops: OpsConfig, layer: str, **where: Any
    ):
        super().__init__(config, d, eps, ops, layer)
        segments = config.segments
        self.in_proj = Segments(d, segments, has_bias=config.use_bias, **where)
        conv_rows = {name: segments[name] for name in ("x", "B", "C")}
        self.conv = Conv(conv_rows, config.conv_kernel, has_bias=config.use_conv_bias, **where)
        heads = config.mamba_num_heads
        wide = {**where, "dtype": norm.wide(where.get("dtype") or torch.get_default_dtype())}
        self.dt_bias = nn.Parameter(torch.empty(heads, **wide))
        self.A_log = nn.Parameter(torch.empty(heads, **wide))
        self.D = nn.Parameter(torch.empty(heads, **wide))
        self.norm = RMSNorm(config.inner, eps, None, **where)
        self.out_proj = Linear(config.inner, d, has_bias=config.use_bias, **where)
        self.mix = MambaMix(config, eps, ops, layer)

    def forward(self, x_TD: Tensor, ctx: Context) -> Tensor:
        """Mix tokens by the state-space scan."""
        if ctx.valid_T is not None:
            x_TD = x_TD * ctx.valid_T[:, None]
        weight, bias = self.conv.fused()
        y = self.mix(
            self.in_proj(x_TD),
            weight,
            bias,
            self.dt_bias,
            self.A_log,
            self.D,
            self.norm.weight,
            ctx,
        )
        return self.out_proj(y)

    def commit(self, state: StateView) -> None:
        """Advance the states of a view by the accepted tokens of the last check of drafts."""
        weight, bias = self.conv.fused()
        self.mix.commit(weight, bias, self.dt_bias, self.A_log, self.D, state)
