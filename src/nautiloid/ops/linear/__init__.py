"""Linear maps."""

from nautiloid.ops.linear.segments import fused_view, linear, segmented_linear, wide_linear

__all__ = ["fused_view", "linear", "segmented_linear", "wide_linear"]
