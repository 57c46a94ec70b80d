"""Sizes and options of the attention block (specs/architecture 2.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nautiloid.model.blocks.config import (
    BlockConfig,
    Flops,
    Kept,
    StateSpec,
    TensorSpec,
    block,
    require,
)


@dataclass(frozen=True, kw_only=True)
class RopeConfig:
    """Rotary position embedding, half-split layout."""

    rope_theta: float = 10_000.0
    partial_rotary_factor: float = 1.0


@block("attention")
@dataclass(frozen=True, kw_only=True)
class AttentionConfig(BlockConfig):
    """Grouped-query attention; every option beyond the Nemotron family's is off by default."""

    letter: ClassVar[str] = "*"
    prunable: ClassVar[tuple[str, ...]] = ("num_attention_heads",)

    num_attention_heads: int = 32
    num_key_value_heads: int = 8
    head_dim: int = 128
    attention_bias: bool = False
    is_causal: bool = True
    sliding_window: int | None = None
    has_sinks: bool = False
    qk_norm: bool = False
    rope: RopeConfig | None = None

    def __post_init__(self) -> None:
        for name in ("num_attention_heads", "num_key_value_heads", "head_dim"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "use at least 1")
        require(
            self.num_attention_heads % self.num_key_value_heads == 0,
            "num_key_value_heads",
            self.num_key_value_heads,
            f"it must divide num_attention_heads ({self.num_attention_heads})",
        )
        require(
            self.sliding_window is None or self.sliding_window >= 1,
            "sliding_window",
            self.sliding_window,
            "use None or at least 1",
        )
        if self.rope is not None:
            width = self.head_dim * self.rope.partial_rotary_factor
            require(
                width == int(width) and int(width) % 2 == 0 and 0 < width <= self.head_dim,
                "rope.partial_rotary_factor",
                self.rope.partial_rotary_factor,
                "the rotated width must be an even number of channels",
            )

    @property
    def segments(self) -> dict[str, int]:
        """Rows of the query, key and value projections in order."""
        kv = self.num_key_value_heads * self.head_dim
        return {"q": self.num_attention_heads * self.head_dim, "k": kv, "v": kv}

    def tensors(self, d: int) -> dict[str, TensorSpec]:
        """Stored per segment."""
        specs: dict[str, TensorSpec] = {}
        for name, rows in self.segments.items():
            specs[f"qkv.{name}.weight"] = TensorSpec((rows, d), "heads")
            if self.attention_bias:
                specs[f"qkv.{name}.bias"] = TensorSpec((rows,), "heads", "zeros")
        if self.qk_norm:
            specs["q_norm.weight"] = TensorSpec((self.head_dim,), "replicate", "ones")
            specs["k_norm.weight"] = TensorSpec((self.head_dim,), "replicate", "ones")
        if self.has_sinks:
            specs["sinks"] = TensorSpec(
                (self.num_attention_heads,), "heads", "zeros", is_island=True
            )
        specs["o_proj.weight"] = TensorSpec((d, self.segments["q"]), "rows", "residual")
        if self.attention_bias:
            specs["o_proj.bias"] = TensorSpec((d,), "replicate", "zeros")
        return specs

    def states(self) -> dict[str, StateSpec]:
        """Keys and values [KV, hd] of each token."""
        shape = (self.num_key_value_heads, self.head_dim)
        return {"k": StateSpec(shape, kind="paged"), "v": StateSpec(shape, kind="paged")}

    def flops(self, d: int) -> Flops:
        """Projections 2 d hd (2Q + 2KV), scores 4 Q hd L at context L."""
        rows = sum(self.segments.values()) + self.segments["q"]
        return Flops(2 * d * rows, 4 * self.segments["q"])

    def kept(self, d: int, tokens: int) -> list[Kept]:
        """Queries, keys, values, outputs and their log sums."""
        rows = sum(self.segments.values())
        return [Kept(tokens * (2 * rows + 2 * self.segments["q"] + 4 * self.num_attention_heads))]

    def work(self, d: int, tokens: int) -> float:
        """Gradients of queries, keys, values and outputs; those of the queries in float32 too."""
        return tokens * (4 * sum(self.segments.values()) + 6 * self.segments["q"])
