"""Sizes of the dense MLP block (specs/architecture 2.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from nautiloid.model.blocks.config import BlockConfig, Flops, Kept, TensorSpec, block, require

Activation = Literal["relu2", "silu"]


def mlp_tensors(d: int, width: int, *, is_gated: bool, has_bias: bool) -> dict[str, TensorSpec]:
    """Tensors of one MLP; a gated one computes `act(gate(x)) * up(x)`."""
    names = ("gate_proj", "up_proj") if is_gated else ("up_proj",)
    specs: dict[str, TensorSpec] = {}
    for name in names:
        specs[f"{name}.weight"] = TensorSpec((width, d), "cols")
        if has_bias:
            specs[f"{name}.bias"] = TensorSpec((width,), "cols", "zeros")
    specs["down_proj.weight"] = TensorSpec((d, width), "rows", "residual")
    if has_bias:
        specs["down_proj.bias"] = TensorSpec((d,), "replicate", "zeros")
    return specs


@block("mlp")
@dataclass(frozen=True, kw_only=True)
class MLPConfig(BlockConfig):
    """`down(relu(up(h))^2)`, or `down(silu(gate(h)) * up(h))` when gated."""

    letter: ClassVar[str] = "-"
    prunable: ClassVar[tuple[str, ...]] = ("intermediate_size",)

    intermediate_size: int = 21504
    mlp_hidden_act: Activation = "relu2"
    is_gated: bool = False
    mlp_bias: bool = False

    def __post_init__(self) -> None:
        value = self.intermediate_size
        require(value >= 1, "intermediate_size", value, "use at least 1")

    def tensors(self, d: int) -> dict[str, TensorSpec]:
        """Up (and gate) and down projections."""
        return mlp_tensors(
            d, self.intermediate_size, is_gated=self.is_gated, has_bias=self.mlp_bias
        )

    def flops(self, d: int) -> Flops:
        """4 d ff, or 6 d ff when gated."""
        return Flops((6 if self.is_gated else 4) * d * self.intermediate_size)

    def kept(self, d: int, tokens: int) -> list[Kept]:
        """Before (and gate) and after the activation."""
        one = tokens * 2 * self.intermediate_size
        return [Kept(one * (2 if self.is_gated else 1)), Kept(one, "activation")]

    def work(self, d: int, tokens: int) -> float:
        """Gradients on both sides of the activation."""
        return tokens * 2 * self.intermediate_size * (3 if self.is_gated else 2)
