"""What every block type declares about itself, without torch.

d is the hidden size; all sizes are per layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from nautiloid.core.config import Open
from nautiloid.core.errors import InputError
from nautiloid.core.registry import Registry

Placement = Literal["replicate", "cols", "rows", "heads", "groups", "experts", "vocab"]
Init = Literal[
    "normal", "residual", "ones", "zeros", "a_log", "dt_bias", "conv_weight", "conv_bias"
]


@dataclass(frozen=True)
class TensorSpec:
    """Shape, placement and initialisation of one stored tensor.

    Args:
        shape: Sizes.
        placement: How tensor or expert parallelism may split it.
        init: Rule of specs/architecture 7.1; `residual` is normal divided by sqrt(num_layers).
        is_fp32: Stays float32 whatever the model dtype is (the router's correction bias).
        is_island: Is float32 in memory and has the model's dtype in a folder (decay rates).
        is_buffer: Saved, but no gradient.
        active: Share of its elements that one token uses (k/E for routed experts).
    """

    shape: tuple[int, ...]
    placement: Placement = "replicate"
    init: Init = "normal"
    is_fp32: bool = False
    is_island: bool = False
    is_buffer: bool = False
    active: float = 1.0


@dataclass(frozen=True)
class StateSpec:
    """Decoding state of one layer for one sequence.

    Args:
        shape: Sizes; for `paged` those of one token.
        dtype: A torch dtype name, or `model` for the dtype of the weights.
        kind: `slot` is one fixed-size entry a sequence, `paged` grows by the token.
    """

    shape: tuple[int, ...]
    dtype: str = "model"
    kind: Literal["slot", "paged"] = "slot"


@dataclass(frozen=True)
class Flops:
    """Forward floating-point operations a token (multiply-add = 2): `fixed + per_context * L`."""

    fixed: float = 0.0
    per_context: float = 0.0

    def __add__(self, other: Flops) -> Flops:
        return Flops(self.fixed + other.fixed, self.per_context + other.per_context)


@dataclass(frozen=True)
class Kept:
    """What the forward of a block leaves for its backward, in training on a GPU in bfloat16.

    Args:
        size: Bytes.
        part: What recomputation calls it; empty when it is always kept.
    """

    size: float
    part: str = ""


@dataclass(frozen=True, kw_only=True)
class BlockConfig(Open):
    """Sizes of one block type; the module of the same folder's `block.py` is built from it."""

    registry: ClassVar[Registry] = Registry("block", "nautiloid.model.blocks")
    letter: ClassVar[str]
    prunable: ClassVar[tuple[str, ...]] = ()

    def tensors(self, d: int) -> dict[str, TensorSpec]:
        """Tensors of the mixer by parameter name, in storage order."""
        raise TypeError(f"{type(self).__name__} does not define tensors")

    def states(self) -> dict[str, StateSpec]:
        """Decoding states by name; empty when the block keeps none."""
        return {}

    def flops(self, d: int) -> Flops:
        """Forward FLOPs a token, matrix products and the scan (specs/architecture 9.3)."""
        raise TypeError(f"{type(self).__name__} does not define flops")

    def kept(self, d: int, tokens: int) -> list[Kept]:
        """What the mixer's backward finds of a micro-batch, without its normalised input [T, d]."""
        return []

    def work(self, d: int, tokens: int) -> float:
        """Bytes of the largest temporary memory of the mixer's backward."""
        return 0.0


block = BlockConfig.registry


def require(holds: bool, field: str, value: object, remedy: str) -> None:
    """Raise `InputError(field, value, remedy)` unless the condition holds."""
    if not holds:
        raise InputError(field, value, remedy)
