"""Decoding of the Mamba-2 mixer on a GPU: two kernels a step, states changed in place by slot.

Same contracts as in `reference`; 16-bit states may be rounded at random.

Suffixes as in `reference`: B sequences, R projected rows, C convolution channels, K taps, H heads,
P head width, G groups, N state size, I inner width = H P.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nautiloid.ops.launch import blocks, launch, power_of_2
from nautiloid.ops.mamba import kernels, kernels_group, kernels_verify
from nautiloid.ops.mamba.reference import NO_LIMIT, MixerSizes
from nautiloid.ops.tuning import tuned

# programs that fill a GPU; with fewer sequences a head is cut into more parts
FULL_PROGRAMS = 128
# programs of which each walks over several heads, and that still fill a GPU
FEWEST_WALKS = 256
# programs that come in several waves
MANY_WALKS = 1024


def _parts(batch: int, heads: int, width: int) -> int:
    """Rows of a head's state that one program takes."""
    rows = power_of_2(width)
    while rows > 16 and batch * heads * (power_of_2(width) // rows) < FULL_PROGRAMS:
        rows //= 2
    return rows


def _span(batch: int, heads: int, groups: int) -> int:
    """Heads that one program takes: all of a group, or as many as leave enough programs.

    >>> _span(256, 64, 8), _span(8, 64, 8), _span(1, 64, 8)
    (8, 2, 1)
    """
    span = heads // groups
    while span > 1 and (batch * heads // span < FEWEST_WALKS or span % 2):
        span = span // 2 if span % 2 == 0 else 1
    return span


def _columns(taps: int, channels: int, warps: int) -> int:
    """Width of a tile of taps with more elements than threads (`kernels.tap_weights`)."""
    return max(power_of_2(taps), power_of_2(2 * 32 * warps // channels))


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
    *,
    seed: Tensor | None = None,
    salt: int = 0,
) -> Tensor:
    """Same contract as `reference.step`.

    Args:
        seed: int64 [1] on the device: a 16-bit `ssm` is rounded at random with it; None to nearest.
        salt: Tells layers that share a seed apart.
    """
    batch, row = projected_BR.shape
    H, P, N = ssm.shape[1:]
    C, K = conv_weight_CK.shape
    assert all(v.is_contiguous() for v in (conv_state, ssm, conv_weight_CK))
    assert (row, projected_BR.stride(1)) == (H * P + C + H, 1), projected_BR.shape
    shared = {
        "ROW": projected_BR.stride(0), "H": H, "P": P, "N": N, "G": sizes.groups, "K": K,
        "BN": power_of_2(N), "FAST": projected_BR.is_cuda, "is_chained": True,
    }  # fmt: skip
    y = projected_BR.new_empty(batch, H * P, dtype=torch.float32)
    out = projected_BR.new_empty(batch, H * P)
    chosen = {
        "HAS_BIAS": conv_bias_C is not None, "IS_CLAMPED": sizes.limit != NO_LIMIT,
        "ROUNDS": seed is not None and ssm.dtype.itemsize == 2,
    }  # fmt: skip
    span = _span(batch, H, sizes.groups)
    if span > 1:
        rows, warps, stages = (32, 2, 3) if batch * H // span >= MANY_WALKS else (64, 4, 4)
        options = tuned(
            f"mamba_group_{span}_{power_of_2(batch)}",
            SPAN=span, BP=min(rows, power_of_2(P)), num_warps=warps, STAGES=stages,
        )  # fmt: skip
        span = options["SPAN"]
        options["KX"], options["KN"] = (
            _columns(K, rows, options["num_warps"])
            for rows in (power_of_2(span * P), power_of_2(N))
        )
        options["BW"] = power_of_2(span * P)
        # numbers that are asked for early, 128 times 16 bytes or a multiple, within the own states
        options["AHEAD"] = min(span * P * N, 8192) // 1024 * 1024
        programs = H // span
        own = projected_BR.new_empty(batch, programs, options["BW"] + 2 * power_of_2(N))
        launch(
            kernels_group.step_group, (programs, batch),
            projected_BR, conv_state, ssm, slot_B, conv_weight_CK, conv_bias_C, dt_bias_H, A_log_H, D_H,
            norm_weight_I, y, own, out, seed, salt, *sizes.limit, sizes.eps, KT=power_of_2(K),
            **shared, **chosen, **options,
        )  # fmt: skip
    else:
        BP = _parts(batch, H, P)
        options = tuned(f"mamba_step_{BP}", BP=BP, num_warps=8)
        options["KX"], options["KN"] = (
            _columns(K, rows, options["num_warps"]) for rows in (options["BP"], power_of_2(N))
        )
        programs = H * blocks(P, options["BP"])
        own = projected_BR.new_empty(batch, programs, options["BP"] + 2 * power_of_2(N))
        launch(
            kernels.step_states, (programs, batch),
            projected_BR, conv_state, ssm, slot_B, conv_weight_CK, conv_bias_C, dt_bias_H, A_log_H, D_H,
            y, own, seed, salt, *sizes.limit, **shared, **chosen, **options,
        )  # fmt: skip
    if span * sizes.groups < H:
        launch(
            kernels.gate_and_shift, (sizes.groups, batch),
            projected_BR, conv_state, slot_B, y, norm_weight_I, out, sizes.eps, **shared,
            KT=power_of_2(K), BW=power_of_2(H * P // sizes.groups), **tuned("mamba_gate", num_warps=4),
        )  # fmt: skip
    return out


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
    *,
    seed: Tensor | None = None,
    salt: int = 0,
) -> Tensor:
    """Same contract as `reference.verify`; `seed` and `salt` as in `step`."""
    weights = (conv_weight_CK, conv_bias_C, dt_bias_H, A_log_H, D_H)
    states = (conv_state, ssm, pending)
    return _walk(
        projected_XR, accepted_B, states, slot_B, weights, norm_weight_I, sizes, seed, salt
    )


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
    *,
    seed: Tensor | None = None,
    salt: int = 0,
) -> None:
    """Same contract as `reference.commit`; `seed` and `salt` as in `step`."""
    weights = (conv_weight_CK, conv_bias_C, dt_bias_H, A_log_H, D_H)
    none = pending.new_empty(0, ssm.shape[1] * ssm.shape[2] + pending.shape[2])
    states = (conv_state, ssm, pending)
    _walk(none, accepted_B, states, slot_B, weights, D_H, sizes, seed, salt)


def _walk(
    projected_XR: Tensor,
    accepted_B: Tensor,
    states: tuple[Tensor, Tensor, Tensor],
    slot_B: Tensor,
    weights: tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor],
    norm_weight_I: Tensor,
    sizes: MixerSizes,
    seed: Tensor | None,
    salt: int,
) -> Tensor:
    conv_state, ssm, pending = states
    batch, H, P, N = len(slot_B), *ssm.shape[1:]
    C, K = weights[0].shape
    T, room = projected_XR.shape[0] // batch, pending.shape[1]
    assert all(v.is_contiguous() for v in (*states, weights[0]))
    assert (projected_XR.shape[1], projected_XR.stride(1)) == (H * P + C + H, 1)
    assert room >= T, (room, T)
    shared = {
        "ROW": projected_XR.stride(0), "H": H, "P": P, "N": N, "G": sizes.groups, "K": K, "T": T,
        "BN": power_of_2(N), "FAST": projected_XR.is_cuda, "is_chained": True,
    }  # fmt: skip
    y = projected_XR.new_empty(batch * T, H * P, dtype=torch.float32)
    options = tuned("mamba_verify", BP=_parts(batch, H, P), num_warps=4)
    options["KX"], options["KN"] = (
        _columns(K, rows, options["num_warps"]) for rows in (options["BP"], power_of_2(N))
    )
    programs = H * blocks(P, options["BP"])
    own = projected_XR.new_empty(batch, programs, room + T, options["BP"] + 2 * power_of_2(N))
    launch(
        kernels_verify.walk_states, (programs, batch),
        projected_XR, accepted_B, *states, slot_B, *weights, y, own, seed, salt, *sizes.limit, room,
        **shared, HAS_BIAS=weights[1] is not None, IS_CLAMPED=sizes.limit != NO_LIMIT,
        ROUNDS=seed is not None and ssm.dtype.itemsize == 2, **options,
    )  # fmt: skip
    out = projected_XR.new_empty(batch * T, H * P)
    launch(
        kernels_verify.gate_and_keep, (sizes.groups, batch),
        projected_XR, accepted_B, conv_state, pending, slot_B, y, norm_weight_I, out, sizes.eps, room,
        **shared, KT=power_of_2(K), BH=power_of_2(H // sizes.groups),
        **tuned("mamba_gate", BW=power_of_2(H * P // sizes.groups), num_warps=4),
    )  # fmt: skip
    return out
