"""bfloat16 operands, float32 accumulation: what a GPU does with float32 master weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nautiloid.ops.quant.format import QuantFormat, quant


@quant("bf16")
@dataclass(frozen=True, kw_only=True)
class BF16(QuantFormat):
    """Round the operands of a product to bfloat16.

    >>> BF16().operand(torch.tensor(1.001)).item()
    1.0
    """

    def pack(self, x: Tensor) -> dict[str, Tensor]:
        """Half the bytes, no scales."""
        return {"data": x.to(torch.bfloat16)}

    def unpack(self, packed: dict[str, Tensor]) -> Tensor:
        """Exact widening."""
        return packed["data"].float()

    def operand(self, x: Tensor) -> Tensor:
        """Rounded to bfloat16 and widened again; the gradient is rounded the same way."""
        return x.to(torch.bfloat16).to(x.dtype)
