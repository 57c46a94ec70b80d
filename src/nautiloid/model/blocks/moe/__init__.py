"""The moe block."""

from nautiloid.model.blocks.moe.config import MoEConfig

__all__ = ["MoEConfig"]
