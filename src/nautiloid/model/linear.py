"""The linear maps of the model: plain, segmented, stacked by expert.

Every matrix product with a weight goes through one of these, so that a number format can be set in
one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nautiloid.ops.linear import linear, segmented_linear
from nautiloid.ops.linear.packed import packed_linear
from nautiloid.ops.norm import Norms
from nautiloid.ops.quant import QuantFormat
from nautiloid.ops.quant.int8 import INT8, Int8Weight


class FormatMixin:
    """Formats of activation and weight; None leaves the operand as it is."""

    activation_format: QuantFormat | None = None
    weight_format: QuantFormat | None = None

    def input_operand(self, x: Tensor) -> Tensor:
        """`x` as the product sees it."""
        return x if self.activation_format is None else self.activation_format.operand(x)

    def weight_operand(self, w: Tensor) -> Tensor:
        """`w` as the product sees it."""
        return w if self.weight_format is None else self.weight_format.operand(w)


class PackMixin:
    """Weights that may be stored in 8 bits: `<name>_data` and `<name>_scale` instead of `<name>`."""

    is_packed = False
    wide_dtype = torch.float32

    def pack(self) -> None:
        """Store the weights in 8 bits; the wide ones are let go."""
        raise TypeError(f"{type(self).__name__} does not define pack")

    def _pack(self, name: str, weight: Tensor) -> None:
        assert isinstance(self, nn.Module)
        for part, tensor in INT8().pack(weight.detach()).items():
            self.register_buffer(f"{name}_{part}", tensor)
        self.is_packed, self.wide_dtype = True, weight.dtype

    def packed(self, name: str = "weight") -> Int8Weight:
        """A packed weight, to be given to a product."""
        assert isinstance(self, nn.Module)
        data, scale = self._buffers[f"{name}_data"], self._buffers[f"{name}_scale"]
        assert data is not None
        assert scale is not None
        return Int8Weight(data, scale)


class Linear(nn.Module, FormatMixin, PackMixin):
    """`x W^T + b`; weights are allocated and left uninitialised."""

    def __init__(self, inputs: int, outputs: int, *, has_bias: bool = False, **where: Any):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, **where))
        self.bias = nn.Parameter(torch.empty(outputs, **where)) if has_bias else None

    def forward(self, x_XD: Tensor) -> Tensor:
        """Apply the map to the last dim."""
        if self.is_packed:
            return packed_linear(self.input_operand(x_XD), self.packed(), self.bias)
        return linear(self.input_operand(x_XD), self.weight_operand(self.weight), self.bias)

    def pack(self) -> None:
        """Store the weight in 8 bits."""
        self._pack("weight", self.weight)
        del self.weight


class Segment(nn.Module):
    """Weight and bias of one segment."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)


class Segments(nn.Module, FormatMixin, PackMixin):
    """Several maps of one input, stored apart and run as one product.

    The segment weights are views of one allocation, which `ops.linear` uses as the fused weight.
    """

    def __init__(
        self, inputs: int, rows: Mapping[str, int], *, has_bias: bool = False, **where: Any
    ):
        super().__init__()
        whole = torch.empty(sum(rows.values()), inputs, **where)
        parts: list[Segment] = []
        for name, weight in zip(rows, whole.split(list(rows.values())), strict=True):
            bias = torch.empty(rows[name], **where) if has_bias else None
            parts.append(Segment(weight, bias))
            self.add_module(name, parts[-1])
        self.names = tuple(rows)
        self.has_bias = has_bias

    def forward(self, x_XD: Tensor) -> Tensor:
        """All segments, concatenated on the last dim."""
        modules = self._modules
        parts: list[Segment] = [modules[name] for name in self.names]  # type: ignore[misc]
        if self.is_packed:
            bias = torch.cat([part.bias for part in parts]) if self.has_bias else None  # type: ignore[misc]
            return packed_linear(self.input_operand(x_XD), self.packed(), bias)
        weights = [self.weight_operand(part.weight) for part in parts]
        biases = [part.bias for part in parts] if self.has_bias else None
        return segmented_linear(self.input_operand(x_XD), weights, biases)

    def pack(self) -> None:
        """Store all segments as one weight in 8 bits."""
        parts: list[Segment] = [self._modules[name] for name in self.names]  # type: ignore[misc]
        self._pack("weight", torch.cat([part.weight for part in parts]))
        for part in parts:
            del part.weight


class Experts(nn.Module, FormatMixin, PackMixin):
    """Stacked weights of the routed experts: up (and gate) [E, M, L], down [E, L, M]."""

    def __init__(self, count: int, width: int, inputs: int, *, is_gated: bool, **where: Any):
        super().__init__()
        up = (count, width, inputs)
        self.gate_proj = nn.Parameter(torch.empty(up, **where)) if is_gated else None
        self.up_proj = nn.Parameter(torch.empty(up, **where))
        self.down_proj = nn.Parameter(torch.empty(count, inputs, width, **where))
        self.is_gated = is_gated

    def operands(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Up, down and gate as the products see them."""
        gate = None if self.gate_proj is None else self.weight_operand(self.gate_proj)
        return self.weight_operand(self.up_proj), self.weight_operand(self.down_proj), gate

    def packed_operands(self) -> tuple[Int8Weight, Int8Weight, Int8Weight | None]:
        """Up, down and gate of packed experts."""
        gate = self.packed("gate_proj") if self.is_gated else None
        return self.packed("up_proj"), self.packed("down_proj"), gate

    def pack(self) -> None:
        """Store all experts in 8 bits, one matrix after the other."""
        for name in ("up_proj", "down_proj", *(("gate_proj",) if self.is_gated else ())):
            self._pack(name, getattr(self, name))
            delattr(self, name)


class RMSNorm(nn.Module):
    """Scale of an RMSNorm; the block calls the operator with it."""

    def __init__(self, size: int, eps: float, rms_norm: Any, **where: Any):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size, **where))
        self.eps = eps
        self.rms_norm = rms_norm

    def forward(self, x_XD: Tensor) -> Tensor:
        """Normalise the last dim."""
        return self.rms_norm(x_XD, self.weight, self.eps)


class ResidualNorm(RMSNorm):
    """RMSNorm of the residual stream, together with the addition before it."""

    def __init__(self, size: int, eps: float, norms: Norms, **where: Any):
        super().__init__(size, eps, norms.rms_norm, **where)
        self.add_rms_norm = norms.add_rms_norm

    def forward(self, x_XD: Tensor, delta_XD: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """`x + delta`, and its norm."""
        if delta_XD is None:
            return x_XD, self.rms_norm(x_XD, self.weight, self.eps)
        return self.add_rms_norm(x_XD, delta_XD, self.weight, self.eps)
