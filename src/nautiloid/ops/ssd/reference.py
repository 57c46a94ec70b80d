"""State-space scan (Mamba-2 SSD), token by token (specs/architecture 3.1).

Suffixes: T tokens, S sequences, H heads, P head width, G groups, N state size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def ssd(
    x_THP: Tensor,
    dt_TH: Tensor,
    A_H: Tensor,
    B_TGN: Tensor,
    C_TGN: Tensor,
    D_H: Tensor,
    lengths: Sequence[int],
    initial_SHPN: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Scan packed sequences: `h = exp(dt A) h + dt x (outer) B`, `y = h C + D x`.

    Args:
        x_THP: Inputs after convolution and SiLU.
        dt_TH: Step sizes after softplus and clamp.
        A_H: Negative decay rate of each head.
        B_TGN: Input maps; head h uses group `h // (H / G)`.
        C_TGN: Output maps.
        D_H: Skip weights; they multiply x, not dt x.
        lengths: Tokens of each sequence.
        initial_SHPN: State before each sequence; zeros when None.

    Returns:
        y_THP and the state after each sequence, SHPN.

    >>> one = torch.ones(2, 1, 1)
    >>> y, h = ssd(one, torch.ones(2, 1), torch.tensor([-1.0]), one, one, torch.zeros(1), [2])
    >>> [round(v, 4) for v in y.flatten().tolist()]
    [1.0, 1.3679]
    """
    per_group = x_THP.shape[1] // B_TGN.shape[1]
    B_THN = B_TGN.repeat_interleave(per_group, dim=1)
    C_THN = C_TGN.repeat_interleave(per_group, dim=1)
    decay_TH = torch.exp(dt_TH * A_H)
    outputs: list[Tensor] = []
    finals: list[Tensor] = []
    start = 0
    for s, length in enumerate(lengths):
        shape = (x_THP.shape[1], x_THP.shape[2], B_TGN.shape[2])
        h_HPN = x_THP.new_zeros(shape) if initial_SHPN is None else initial_SHPN[s]
        for t in range(start, start + length):
            u_HP = dt_TH[t, :, None] * x_THP[t]
            h_HPN = decay_TH[t, :, None, None] * h_HPN + u_HP[:, :, None] * B_THN[t, :, None, :]
            outputs.append((h_HPN * C_THN[t, :, None, :]).sum(-1))
        finals.append(h_HPN)
        start += length
    y_THP = torch.stack(outputs) + D_H[:, None] * x_THP
    return y_THP, torch.stack(finals)
