"""Routed experts by products of one shape, whose bits do not depend on how the tokens spread.

Suffixes: T tokens, K chosen experts, E experts, L input width, M expert width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nautiloid.ops.moe.reference import Activation, activate


def experts(
    x_TL: Tensor,
    experts_TK: Tensor,
    weights_TK: Tensor,
    up_EML: Tensor,
    down_ELM: Tensor,
    gate_EML: Tensor | None = None,
    activation: Activation = "relu2",
) -> Tensor:
    """Same contract as `reference.experts`; every expert that is chosen sees all T rows.

    >>> one = torch.ones(1, 1)
    >>> experts(one, torch.tensor([[0]]), one, torch.full((1, 1, 1), 2.0), one[None]).item()
    4.0
    """
    chosen = torch.unique(experts_TK).tolist()
    outputs: dict[int, Tensor] = {}
    for e in chosen:
        h = F.linear(x_TL, up_EML[e])
        g = None if gate_EML is None else F.linear(x_TL, gate_EML[e])
        outputs[e] = F.linear(activate(h, g, activation), down_ELM[e])
    out_TL = torch.zeros_like(x_TL)
    for k in range(experts_TK.shape[1]):
        y_TL = torch.zeros_like(x_TL)
        for e in chosen:
            y_TL = torch.where((experts_TK[:, k] == e)[:, None], outputs[e], y_TL)
        out_TL = out_TL + y_TL * weights_TK[:, k, None].to(x_TL.dtype)
    return out_TL
