"""The Mamba-2 mixer between its projections as one GPU operator: one gradient buffer, no copies.

Convolution, scan and gated norm read and write column slices: z | x B C | dt of the input
projection's output [T, R] and of its gradient, x | B | C of the convolution's output [T, C] and of
its gradient. The backward needs the projection's output, the scan's output y, and the convolution's
output, which it may form again instead.

Suffixes: T tokens, R projected rows, C convolution channels, K taps, I inner width, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nautiloid.ops.conv.cuda import conv_backward, conv_forward
from nautiloid.ops.main_grad import give, main_grad
from nautiloid.ops.mamba.reference import MixerSizes
from nautiloid.ops.norm.cuda import gated_backward, gated_forward
from nautiloid.ops.ssd.cuda import Steps, scan_backward, scan_forward


def _columns(projected_TR: Tensor, inner: int, channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """z, x B C and dt."""
    heads = projected_TR.shape[1] - inner - channels
    z, xbc, dt = projected_TR.split([inner, channels, heads], dim=1)
    return z, xbc, dt


def _maps(u_TC: Tensor, inner: int, sizes: MixerSizes) -> tuple[Tensor, Tensor, Tensor]:
    """x [T, H, P], B and C [T, G, N]."""
    bc = (u_TC.shape[1] - inner) // 2
    x, B, C = u_TC.split([inner, bc, bc], dim=1)
    return (
        x.unflatten(1, (-1, sizes.head_dim)),
        B.unflatten(1, (sizes.groups, -1)),
        C.unflatten(1, (sizes.groups, -1)),
    )


class _Mixer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        conv_weight: Tensor,
        conv_bias: Tensor | None,
        dt_bias: Tensor,
        A_log: Tensor,
        D: Tensor,
        norm_weight: Tensor,
        lengths: tuple[int, ...],
        sizes: MixerSizes,
    ) -> tuple[Tensor, Tensor]:
        inner = norm_weight.shape[0]
        z, xbc, dt = _columns(projected, inner, conv_weight.shape[0])
        u, _ = conv_forward(xbc, conv_weight, conv_bias, lengths, wants_last=False)
        x, B, C = _maps(u, inner, sizes)
        steps = Steps(dt_bias, sizes.limit)
        y, _ = scan_forward(x, dt, A_log, B, C, D, lengths, steps=steps)
        y = y.flatten(1)
        out = gated_forward(y, z, norm_weight, sizes.groups, sizes.eps)
        ctx.save_for_backward(
            projected, conv_weight, conv_bias, dt_bias, A_log, D, norm_weight, y,
            u if sizes.keeps_conv else None,
        )  # fmt: skip
        ctx.lengths, ctx.sizes = lengths, sizes
        # taken here: what hooks on saved tensors give back is not the parameter itself
        ctx.main_grads = [main_grad(w) for w in (dt_bias, A_log, D, norm_weight)]
        ctx.mark_non_differentiable(y)
        ctx.set_materialize_grads(False)
        return out, y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor, d_scan: None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        projected, conv_weight, conv_bias, dt_bias, A_log, D, norm_weight, y, u = ctx.saved_tensors
        lengths, sizes, inner = ctx.lengths, ctx.sizes, norm_weight.shape[0]
        into = ctx.main_grads
        z, xbc, dt = _columns(projected, inner, conv_weight.shape[0])
        d_projected = torch.empty_like(projected)
        dz, d_xbc, d_dt = _columns(d_projected, inner, conv_weight.shape[0])
        dout = dout if dout.stride(1) == 1 else dout.contiguous()
        dy, _, d_norm = gated_backward(
            dout, y, z, norm_weight, sizes.groups, sizes.eps, dz_TI=dz, into_I=into[3]
        )
        if u is None:
            u, _ = conv_forward(xbc, conv_weight, conv_bias, lengths, wants_last=False)
        x, B, C = _maps(u, inner, sizes)
        du = torch.empty_like(u)
        dx, dB, dC = _maps(du, inner, sizes)
        d_rate, d_D, d_bias, _ = scan_backward(
            dy.view_as(x), x, dt, A_log, B, C, D, lengths, None, None,
            outputs=(dx, d_dt, dB, dC), steps=Steps(dt_bias, sizes.limit),
        )  # fmt: skip
        _, dw, db, _ = conv_backward(du, xbc, conv_weight, conv_bias, lengths, out_TC=d_xbc)
        return (
            d_projected,
            dw.to(conv_weight.dtype),
            None if conv_bias is None else db.to(conv_bias.dtype),
            give(d_bias, into[0], dt_bias),
            give(d_rate, into[1], A_log),
            give(d_D, into[2], D),
            None if into[3] is not None else d_norm.to(norm_weight.dtype),
            None,
            None,
        )


def mixer_and_scan(
    projected_TR: Tensor,
    conv_weight_CK: Tensor,
    conv_bias_C: Tensor | None,
    dt_bias_H: Tensor,
    A_log_H: Tensor,
    D_H: Tensor,
    norm_weight_I: Tensor,
    lengths: Sequence[int],
    sizes: MixerSizes,
) -> tuple[Tensor, Tensor]:
    """`mixer`, and the scan's output [T, I] before the gated norm, without a gradient."""
    return _Mixer.apply(
        projected_TR, conv_weight_CK, conv_bias_C, dt_bias_H, A_log_H, D_H, norm_weight_I,
        tuple(lengths), sizes,
    )  # fmt: skip


def mixer(
    projected_TR: Tensor,
    conv_weight_CK: Tensor,
    conv_bias_C: Tensor | None,
    dt_bias_H: Tensor,
    A_log_H: Tensor,
    D_H: Tensor,
    norm_weight_I: Tensor,
    lengths: Sequence[int],
    sizes: MixerSizes,
) -> Tensor:
    """Convolution with SiLU, scan from a zero state, gated norm; gives [T, I].

    Args:
        projected_TR: z | x B C | dt, with dt before bias and softplus.
    """
    out, _ = mixer_and_scan(
        projected_TR, conv_weight_CK, conv_bias_C, dt_bias_H, A_log_H, D_H, norm_weight_I,
        lengths, sizes,
    )  # fmt: skip
    return out


def prefill(
    projected_TR: Tensor,
    conv_weight_CK: Tensor,
    conv_bias_C: Tensor | None,
    dt_bias_H: Tensor,
    A_log_H: Tensor,
    D_H: Tensor,
    norm_weight_I: Tensor,
    lengths: Sequence[int],
    sizes: MixerSizes,
    window_SLC: Tensor | None,
    initial_SHPN: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`mixer` from and to states, without gradients.

    Args:
        window_SLC: The last K - 1 inputs of the convolution of each sequence; zeros when None.
        initial_SHPN: State before each sequence; zeros when None.

    Returns:
        [T, I], and both states after each sequence.
    """
    inner = norm_weight_I.shape[0]
    z, xbc, dt = _columns(projected_TR, inner, conv_weight_CK.shape[0])
    u, last = conv_forward(xbc, conv_weight_CK, conv_bias_C, lengths, window_SLC)
    assert last is not None
    x, B, C = _maps(u, inner, sizes)
    if initial_SHPN is not None:
        initial_SHPN = initial_SHPN.contiguous()
    steps = Steps(dt_bias_H, sizes.limit)
    y, final = scan_forward(x, dt, A_log_H, B, C, D_H, lengths, initial_SHPN, steps=steps)
    out = gated_forward(y.flatten(1), z, norm_weight_I, sizes.groups, sizes.eps)
    return out, last, final
