"""The mamba block."""

from nautiloid.model.blocks.mamba.config import MambaConfig

__all__ = ["MambaConfig"]
