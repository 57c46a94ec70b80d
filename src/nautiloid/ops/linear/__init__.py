"""Linear maps."""

from nautiloid.ops.linear.segments import fused_view, segmented_linear

__all__ = ["fused_view", "segmented_linear"]
