"""Causal depthwise convolution with SiLU (specs/architecture 2.2 step 3).

Suffixes: T tokens, C channels, K taps, S sequences.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def conv_silu(
    x_TC: Tensor,
    weight_CK: Tensor,
    bias_C: Tensor | None,
    lengths: Sequence[int],
    initial_SLC: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`SiLU(conv(x) + bias)` of packed sequences; tap K-1 multiplies the current token.

    Args:
        x_TC: Inputs.
        weight_CK: Taps of each channel.
        bias_C: Bias or None.
        lengths: Tokens of each sequence; taps never cross a start.
        initial_SLC: The K-1 columns before each sequence; zeros when None.

    Returns:
        y_TC and the last K-1 input columns of each sequence [S, K-1, C].

    >>> y, last = conv_silu(torch.ones(3, 1), torch.ones(1, 2), None, [3])
    >>> [round(v, 3) for v in y.flatten().tolist()]
    [0.731, 1.762, 1.762]
    """
    taps = weight_CK.shape[1]
    outputs: list[Tensor] = []
    finals: list[Tensor] = []
    for s, part in enumerate(x_TC.split(list(lengths))):
        left = x_TC.new_zeros(taps - 1, x_TC.shape[1]) if initial_SLC is None else initial_SLC[s]
        padded = torch.cat([left.to(x_TC.dtype), part])
        y = F.conv1d(padded.T[None], weight_CK[:, None], bias_C, groups=x_TC.shape[1])
        outputs.append(F.silu(y[0].T))
        finals.append(padded[padded.shape[0] - taps + 1 :])
    return torch.cat(outputs), torch.stack(finals)
