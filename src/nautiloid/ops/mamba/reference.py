"""Decoding of the Mamba-2 mixer by its formulas: one token a sequence, or several that may be undone.

A verify step runs the tokens that a draft proposes. Which of them are kept is known only afterwards, and
a state cannot be rolled back, so the states are advanced lazily: the convolution's inputs and step
sizes of the last verify step wait as `pending`, and the next one first advances the states by those
that were accepted.

Suffixes: B sequences, T tokens a sequence, X = B T, R projected rows, C convolution channels, K taps,
H heads, P head width, G groups, N state size, I inner width = H P. States hold a row a slot.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nautiloid.ops.norm.reference import gated_group_norm, wide

NO_LIMIT = (0.0, float("inf"))


@dataclass(frozen=True)
class MixerSizes:
    """What tensors do not tell.

    Args:
        head_dim: P.
        groups: G, of B, C and of the gated norm.
        eps: Of the gated norm.
        limit: Clamp of the step sizes.
        keeps_conv: Save the convolution's output for the backward instead of forming it again.
    """

    head_dim: int
    groups: int
    eps: float
    limit: tuple[float, float] = NO_LIMIT
    keeps_conv: bool = True


@dataclass(frozen=True)
class _Weights:
    conv_weight_CK: Tensor
    conv_bias_C: Tensor | None
    dt_bias_H: Tensor
    A_log_H: Tensor
    D_H: Tensor


def _advance(
    xbc_BC: Tensor,
    dt_BH: Tensor,
    window_BLC: Tensor,
    h_BHPN: Tensor,
    weights: _Weights,
    sizes: MixerSizes,
) -> tuple[Tensor, Tensor, Tensor]:
    """One token: the next K-1 inputs of the convolution, the next state, and the scan's output [B, I]."""
    dtype = h_BHPN.dtype
    taps_BKC = torch.cat([window_BLC, xbc_BC[:, None]], 1)
    u = (taps_BKC.to(dtype) * weights.conv_weight_CK.t().to(dtype)).sum(1)
    if weights.conv_bias_C is not None:
        u = u + weights.conv_bias_C.to(dtype)
    u = F.silu(u).to(xbc_BC.dtype).to(dtype)
    inner = weights.D_H.shape[0] * sizes.head_dim
    bc = (u.shape[1] - inner) // 2
    x, B, C = u.split([inner, bc, bc], 1)
    x = x.unflatten(1, (-1, sizes.head_dim))
    heads = x.shape[1] // sizes.groups
    B, C = (v.unflatten(1, (sizes.groups, -1)).repeat_interleave(heads, 1) for v in (B, C))
    dt = F.softplus(dt_BH.to(dtype) + weights.dt_bias_H.to(dtype)).clamp(*sizes.limit)
    decay = torch.exp(-dt * weights.A_log_H.to(dtype).exp())
    h = decay[..., None, None] * h_BHPN + (dt[..., None] * x)[..., None] * B[:, :, None]
    y = (h * C[:, :, None]).sum(-1) + weights.D_H.to(dtype)[:, None] * x
    return taps_BKC[:, 1:], h, y.flatten(1)


def step(
    projected_BR: Tensor,
    conv_state: Tensor,
    ssm: Tensor,
    slot_B: Tensor,
    conv_weight_CK: Tensor,
    conv_bias_C: Tensor | None,
    dt_bias_H: Tensor,
    A_log_H: Tensor,
    D_H: Tensor,
    norm_weight_I: Tensor,
    sizes: MixerSizes,
) -> Tensor:
    """One token of each sequence; both states change in place.

    Args:
        projected_BR: z | x B C | dt, with dt before bias and softplus.
        conv_state: [slots, K-1, C], the last inputs of the convolution.
        ssm: [slots, H, P, N].
        slot_B: Slot of each sequence.

    Returns:
        [B, I], the input of the output projection.
    """
    inner, channels = norm_weight_I.shape[0], conv_weight_CK.shape[0]
    z, xbc, dt = projected_BR.split([inner, channels, dt_bias_H.shape[0]], 1)
    rows = slot_B.long()
    weights = _Weights(conv_weight_CK, conv_bias_C, dt_bias_H, A_log_H, D_H)
    h = ssm[rows].to(wide(ssm.dtype))
    window, h, y = _advance(xbc, dt, conv_state[rows], h, weights, sizes)
    conv_state[rows], ssm[rows] = window.to(conv_state.dtype), h.to(ssm.dtype)
    return gated_group_norm(y, z, norm_weight_I, sizes.groups, sizes.eps)


def commit(
    accepted_B: Tensor,
    conv_state: Tensor,
    ssm: Tensor,
    pending: Tensor,
    slot_B: Tensor,
    conv_weight_CK: Tensor,
    conv_bias_C: Tensor | None,
    dt_bias_H: Tensor,
    A_log_H: Tensor,
    D_H: Tensor,
    sizes: MixerSizes,
) -> None:
    """Advance the states by the accepted pending tokens, in place.

    Args:
        accepted_B: How many pending tokens of each sequence count, the first ones.
        pending: [slots, T, C + H], x B C | dt of the last verify step.
    """
    rows, channels = slot_B.long(), conv_weight_CK.shape[0]
    weights = _Weights(conv_weight_CK, conv_bias_C, dt_bias_H, A_log_H, D_H)
    window, h = conv_state[rows], ssm[rows].to(wide(ssm.dtype))
    waiting, most = pending[rows], pending.shape[1]
    if accepted_B.device.type == "cpu":  # known without waiting
        most = int(accepted_B.max())
    for t in range(most):
        xbc, dt = waiting[:, t, :channels], waiting[:, t, channels:]
        later, advanced, _ = _advance(xbc, dt, window, h, weights, sizes)
        counts = t < accepted_B.to(rows.device)
        window = torch.where(counts[:, None, None], later, window)
        h = torch.where(counts[:, None, None, None], advanced, h)
    conv_state[rows], ssm[rows] = window.to(conv_state.dtype), h.to(ssm.dtype)


def verify(
    projected_XR: Tensor,
    accepted_B: Tensor,
    conv_state: Tensor,
    ssm: Tensor,
    pending: Tensor,
    slot_B: Tensor,
    conv_weight_CK: Tensor,
    conv_bias_C: Tensor | None,
    dt_bias_H: Tensor,
    A_log_H: Tensor,
    D_H: Tensor,
    norm_weight_I: Tensor,
    sizes: MixerSizes,
) -> Tensor:
    """T tokens of each sequence whose fate is open: outputs of all, states only up to the accepted ones.

    Args:
        projected_XR: z | x B C | dt of every token, sequence by sequence.
        accepted_B: How many tokens of the last verify step count; 0 after a prefill or a commit.
        conv_state: [slots, K-1, C], changed in place like `ssm` [slots, H, P, N].
        pending: [slots, at least T, C + H]; read, then holds the new tokens.
        slot_B: Slot of each sequence.

    Returns:
        [B T, I].
    """
    shared = (conv_weight_CK, conv_bias_C, dt_bias_H, A_log_H, D_H)
    commit(accepted_B, conv_state, ssm, pending, slot_B, *shared, sizes)
    rows, weights = slot_B.long(), _Weights(*shared)
    inner, channels = norm_weight_I.shape[0], conv_weight_CK.shape[0]
    tokens = projected_XR.unflatten(0, (len(rows), -1))
    z, xbc, dt = tokens.split([inner, channels, dt_bias_H.shape[0]], 2)
    pending[rows, : tokens.shape[1]] = tokens[:, :, inner:].to(pending.dtype)
    window, h = conv_state[rows], ssm[rows].to(wide(ssm.dtype))
    outputs: list[Tensor] = []
    for t in range(tokens.shape[1]):
        window, h, y = _advance(xbc[:, t], dt[:, t], window, h, weights, sizes)
        outputs.append(gated_group_norm(y, z[:, t], norm_weight_I, sizes.groups, sizes.eps))
    return torch.stack(outputs, 1).flatten(0, 1)
