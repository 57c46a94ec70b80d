"""Routed experts with 8-bit weights: a compiled kernel, or one widened expert after the other.

Suffixes: T tokens, K chosen experts, E experts, L input width, M expert width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nautiloid.ops import compiled
from nautiloid.ops.config import Backend
from nautiloid.ops.moe.reference import Activation, activate
from nautiloid.ops.quant.int8 import Int8Weight


def experts(
    x_TL: Tensor,
    experts_TK: Tensor,
    weights_TK: Tensor,
    up_EML: Int8Weight,
    down_ELM: Int8Weight,
    gate_EML: Int8Weight | None = None,
    activation: Activation = "relu2",
    *,
    backend: Backend = "auto",
) -> Tensor:
    """Same contract as `reference.experts` of the widened weights.

    >>> def ones(*shape: int) -> Int8Weight:
    ...     return Int8Weight(torch.ones(shape, dtype=torch.int8), torch.ones(shape[:-1] + (1,)).bfloat16())
    >>> e = torch.zeros(1, 1, dtype=torch.long)
    >>> experts(torch.ones(1, 1), e, torch.ones(1, 1), ones(1, 1, 1), ones(1, 1, 1)).item()
    1.0
    """
    is_ready = compiled.fits(x_TL, weights_TK) and up_EML.fits() and down_ELM.fits()
    if is_ready and experts_TK.is_contiguous() and compiled.is_wanted(backend):
        from nautiloid.ops.moe import jit

        return jit.experts(
            x_TL, experts_TK, weights_TK, up_EML, down_ELM, gate_EML, activation
        )  # fmt: skip
    out = torch.zeros_like(x_TL)
    for e in experts_TK.unique().tolist():
        token, k = (experts_TK == e).nonzero(as_tuple=True)
        x = x_TL[token]
        h = x @ up_EML[e].widen(x.dtype).t()
        g = None if gate_EML is None else x @ gate_EML[e].widen(x.dtype).t()
        a = activate(h, g, activation) * weights_TK[token, k, None].to(x.dtype)
        out = out.index_add(0, token, a @ down_ELM[e].widen(x.dtype).t())
    return out
