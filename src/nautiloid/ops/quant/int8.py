"""8-bit weights: groups of columns of a row share a scale, values are spread evenly around 0.

Suffixes: N rows, K columns, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nautiloid.ops import compiled
from nautiloid.ops.quant.format import QuantFormat, quant

# columns of a row that share a scale
GROUP = 64
MOST = 127


@quant("int8")
@dataclass(frozen=True, kw_only=True)
class INT8(QuantFormat):
    """Nearest multiple (ties to even) of a bfloat16 scale, the largest value of a group being 127.

    >>> INT8().operand(torch.tensor([[1.0, -127.0, 0.4]])).tolist()
    [[1.0, -127.0, 0.0]]
    """

    block_shape = (1, GROUP)
    scale_dtype = "bfloat16"

    def pack(self, x: Tensor) -> dict[str, Tensor]:
        """`data` int8 of the same shape, `scale` bfloat16 [..., N, G]; the last group may be short."""
        groups = -(-x.shape[-1] // GROUP)
        wide = x.detach().float()
        padded = torch.nn.functional.pad(wide, (0, groups * GROUP - x.shape[-1]))
        scale = padded.unflatten(-1, (groups, GROUP)).abs().amax(-1).div_(MOST).bfloat16()
        step = scale.float().repeat_interleave(GROUP, -1)[..., : x.shape[-1]]
        # a group of zeros has scale 0; what is not finite makes a scale that is not
        data = torch.where(step == 0, 0, wide / step).nan_to_num_().round_()
        return {"data": data.clamp_(-MOST, MOST).to(torch.int8), "scale": scale}

    def unpack(self, packed: dict[str, Tensor]) -> Tensor:
        """`data` times the scale of its group."""
        return Int8Weight(packed["data"], packed["scale"]).widen()

    def operand(self, x: Tensor) -> Tensor:
        """Rounded and widened again; the gradient passes as if nothing was rounded."""
        rounded = self.unpack(self.pack(x)).to(x.dtype)
        return x + (rounded - x).detach() if x.requires_grad else rounded


@dataclass(frozen=True)
class Int8Weight:
    """A packed weight, given to a product in place of a tensor.

    Args:
        data: int8 [..., N, K].
        scale: bfloat16 [..., N, G].
    """

    data: Tensor
    scale: Tensor

    @property
    def shape(self) -> torch.Size:
        """Of the weight it stands for."""
        return self.data.shape

    def __getitem__(self, index: int | slice) -> Int8Weight:
        """Part of the first axis."""
        return Int8Weight(self.data[index], self.scale[index])

    def fits(self) -> bool:
        """Whether compiled kernels can read it."""
        tensors = (self.data, self.scale)
        return compiled.fits() and all(t.is_cpu and t.is_contiguous() for t in tensors)

    def widen(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The values it stands for."""
        if dtype == torch.float32 and self.data.numel() and self.fits():
            from nautiloid.ops.quant.jit import widen

            return widen(self.data, self.scale)
        step = self.scale.float().repeat_interleave(GROUP, -1)[..., : self.data.shape[-1]]
        return (self.data.float() * step).to(dtype)
