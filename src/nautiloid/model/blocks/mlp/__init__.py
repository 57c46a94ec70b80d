"""The mlp block."""

from nautiloid.model.blocks.mlp.config import MLPConfig

__all__ = ["MLPConfig"]
