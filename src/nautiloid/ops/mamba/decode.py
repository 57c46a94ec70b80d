"""Decoding of the Mamba-2 mixer on a GPU: two kernels a step, states changed in place by slot.

Suffixes as in `reference`: B sequences, R projected rows, C convolution channels, K taps, H heads,
P head width, G groups, N state size, I inner width = H P.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nautiloid.ops.launch import blocks, launch, power_of_2
from nautiloid.ops.mamba import kernels
from nautiloid.ops.mamba.reference import NO_LIMIT, MixerSizes
from nautiloid.ops.tuning import tuned

# programs that fill a GPU; with fewer sequences a head is cut into more parts
FULL_PROGRAMS = 512


def _parts(batch: int, heads: int, width: int) -> int:
    """Rows of a head's state that one program takes."""
    rows = power_of_2(width)
    while rows > 16 and batch * heads * (power_of_2(width) // rows) < FULL_PROGRAMS:
        rows //= 2
    return rows


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
    BP = _parts(batch, H, P)
    options = tuned(f"mamba_step_{BP}", BP=BP, num_warps=4)
    options["KX"], options["KN"] = (
        _columns(K, rows, options["num_warps"]) for rows in (options["BP"], power_of_2(N))
    )
    programs = H * blocks(P, options["BP"])
    own = projected_BR.new_empty(batch, programs, options["BP"] + 2 * power_of_2(N))
    launch(
        kernels.step_states, (programs, batch),
        projected_BR, conv_state, ssm, slot_B, conv_weight_CK, conv_bias_C, dt_bias_H, A_log_H, D_H, y,
        own, seed, salt, *sizes.limit, **shared, HAS_BIAS=conv_bias_C is not None,
        IS_CLAMPED=sizes.limit != NO_LIMIT, ROUNDS=seed is not None and ssm.dtype.itemsize == 2,
        **options,
    )  # fmt: skip
    out = projected_BR.new_empty(batch, H * P)
    launch(
        kernels.gate_and_shift, (sizes.groups, batch),
        projected_BR, conv_state, slot_B, y, norm_weight_I, out, sizes.eps, **shared,
        **tuned("mamba_gate", BW=power_of_2(H * P // sizes.groups), num_warps=4),
    )  # fmt: skip
    return out
