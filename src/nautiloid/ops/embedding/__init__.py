"""Token embedding whose gradient may add up in float32."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nautiloid.ops import compiled
from nautiloid.ops.backends import has
from nautiloid.ops.main_grad import main_grad

__all__ = ["embedding"]

# tokens up to which the compiled kernel runs
FEW = 16


def embedding(tokens_T: Tensor, weight_VD: Tensor) -> Tensor:
    """Rows of the table; on a GPU their gradient goes straight into `main_grad` where there is one.

    >>> embedding(torch.tensor([1]), torch.tensor([[1.0], [2.0]])).tolist()
    [[2.0]]
    """
    needs_grad = torch.is_grad_enabled() and weight_VD.requires_grad
    if needs_grad and weight_VD.is_cuda and main_grad(weight_VD) is not None and has("triton"):
        from nautiloid.ops.embedding import cuda

        return cuda.embedding(tokens_T, weight_VD)
    if tokens_T.shape[0] <= FEW and compiled.fits(weight_VD):
        from nautiloid.ops.embedding import jit

        return jit.embedding(tokens_T.contiguous(), weight_VD)
    return F.embedding(tokens_T, weight_VD)
