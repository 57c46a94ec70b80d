"""What a number format declares: block shape, scales, rounding, alignment, and its product.

A format is stateless; `model.precision` says which linear map uses which one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from nautiloid.core.config import Open
from nautiloid.core.registry import Registry


@dataclass(frozen=True, kw_only=True)
class QuantFormat(Open):
    """One number format.

    Attributes:
        block_shape: Rows and columns that share a scale; (0, 0) when there is none.
        scale_dtype: Dtype name of the scales, None when there is none.
        rounding: How values are rounded.
        row_alignment: Rows of the left operand are padded to a multiple of this.
    """

    registry: ClassVar[Registry] = Registry("quant", "nautiloid.ops.quant")
    block_shape: ClassVar[tuple[int, int]] = (0, 0)
    scale_dtype: ClassVar[str | None] = None
    rounding: ClassVar[Literal["nearest", "stochastic"]] = "nearest"
    row_alignment: ClassVar[Literal[1, 16, 32, 128]] = 1

    def pack(self, x: Tensor) -> dict[str, Tensor]:
        """Stored tensors of a weight: `data` and, where the format has them, `scale`."""
        raise TypeError(f"{type(self).__name__} does not define pack")

    def unpack(self, packed: dict[str, Tensor]) -> Tensor:
        """The values the stored tensors stand for, float32."""
        raise TypeError(f"{type(self).__name__} does not define unpack")

    def operand(self, x: Tensor) -> Tensor:
        """The value a product sees when `x` is given in this format: same dtype, differentiable."""
        raise TypeError(f"{type(self).__name__} does not define operand")


quant = QuantFormat.registry
