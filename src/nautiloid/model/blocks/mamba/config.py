"""Sizes of the Mamba-2 block (specs/architecture 2.2, 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from nautiloid.model.blocks.config import (
    BlockConfig,
    Flops,
    Kept,
    Placement,
    StateSpec,
    TensorSpec,
    block,
    require,
)


@block("mamba")
@dataclass(frozen=True, kw_only=True)
class MambaConfig(BlockConfig):
    """Mamba-2 mixer; the inner width is heads times head width, never `expand * hidden_size`."""

    letter: ClassVar[str] = "M"
    prunable: ClassVar[tuple[str, ...]] = ("mamba_num_heads", "mamba_head_dim", "ssm_state_size")

    mamba_num_heads: int = 128
    mamba_head_dim: int = 64
    n_groups: int = 8
    ssm_state_size: int = 128
    conv_kernel: int = 4
    use_conv_bias: bool = True
    use_bias: bool = False
    chunk_size: int = 128
    time_step_min: float = 0.001
    time_step_max: float = 0.1
    time_step_floor: float = 1e-4
    time_step_limit: tuple[float, float] = (0.0, math.inf)
    mamba_hidden_act: Literal["silu"] = "silu"
    mamba_ssm_cache_dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    def __post_init__(self) -> None:
        for name in (
            "mamba_num_heads",
            "mamba_head_dim",
            "n_groups",
            "ssm_state_size",
            "chunk_size",
        ):
            require(getattr(self, name) >= 1, name, getattr(self, name), "use at least 1")
        require(2 <= self.conv_kernel <= 8, "conv_kernel", self.conv_kernel, "use 2 to 8")
        require(
            self.mamba_num_heads % self.n_groups == 0,
            "n_groups",
            self.n_groups,
            f"it must divide mamba_num_heads ({self.mamba_num_heads})",
        )
        low, high = self.time_step_limit
        require(
            0 <= low < high, "time_step_limit", self.time_step_limit, "use (low, high), low < high"
        )

    @property
    def inner(self) -> int:
        """I = H * P."""
        return self.mamba_num_heads * self.mamba_head_dim

    @property
    def conv_channels(self) -> int:
        """Channels x, B and C of the convolution, I + 2 G N."""
        return self.inner + 2 * self.n_groups * self.ssm_state_size

    @property
    def segments(self) -> dict[str, int]:
        """Rows of the input projection in order."""
        bc = self.n_groups * self.ssm_state_size
        return {"z": self.inner, "x": self.inner, "B": bc, "C": bc, "dt": self.mamba_num_heads}

    def tensors(self, d: int) -> dict[str, TensorSpec]:
        """Stored per segment, so that any split is a plain shard."""
        placement: dict[str, Placement] = {
            "z": "heads",
            "x": "heads",
            "B": "groups",
            "C": "groups",
            "dt": "heads",
        }
        specs: dict[str, TensorSpec] = {}
        for name, rows in self.segments.items():
            specs[f"in_proj.{name}.weight"] = TensorSpec((rows, d), placement[name])
            if self.use_bias:
                specs[f"in_proj.{name}.bias"] = TensorSpec((rows,), placement[name], "zeros")
        for name in ("x", "B", "C"):
            rows = self.segments[name]
            specs[f"conv.{name}.weight"] = TensorSpec(
                (rows, self.conv_kernel), placement[name], "conv_weight"
            )
            if self.use_conv_bias:
                specs[f"conv.{name}.bias"] = TensorSpec((rows,), placement[name], "conv_bias")
        heads = (self.mamba_num_heads,)
        # decay rates and state dynamics compute in float32 whatever the weights are
        specs["dt_bias"] = TensorSpec(heads, "heads", "dt_bias", is_island=True)
        specs["A_log"] = TensorSpec(heads, "heads", "a_log", is_island=True)
        specs["D"] = TensorSpec(heads, "heads", "ones", is_island=True)
        specs["norm.weight"] = TensorSpec((self.inner,), "heads", "ones")
        specs["out_proj.weight"] = TensorSpec((d, self.inner), "rows", "residual")
        if self.use_bias:
            specs["out_proj.bias"] = TensorSpec((d,), "replicate", "zeros")
        return specs

    def states(self) -> dict[str, StateSpec]:
        """SSM state [H, P, N] and the last K-1 pre-convolution columns [K-1, channels]."""
        shape = (self.mamba_num_heads, self.mamba_head_dim, self.ssm_state_size)
        return {
            "ssm": StateSpec(shape, self.mamba_ssm_cache_dtype),
            "conv": StateSpec((self.conv_kernel - 1, self.conv_channels)),
        }

    def flops(self, d: int) -> Flops:
        """Projections 2dR + 2Id, convolution 2 K Cd, scan 7IN (Megatron accounting)."""
        rows = sum(self.segments.values())
        projections = 2 * d * rows + 2 * self.inner * d
        conv = 2 * self.conv_kernel * self.conv_channels
        return Flops(projections + conv + 7 * self.inner * self.ssm_state_size)

    def kept(self, d: int, tokens: int) -> list[Kept]:
        """Projected rows, convolution output, step sizes, scan output, gated norm."""
        rows = sum(self.segments.values())
        always = 2 * rows + 4 * self.mamba_num_heads + 2 * self.inner + 4 * self.n_groups
        return [
            Kept(tokens * always),
            Kept(tokens * 2 * self.conv_channels, "conv"),
            Kept(tokens * 2 * self.inner, "norm"),
        ]

    def work(self, d: int, tokens: int) -> float:
        """Gradients of the projected rows, of the scan's output and of its input."""
        rows = sum(self.segments.values())
        return tokens * 2 * (rows + self.inner + self.conv_channels)
