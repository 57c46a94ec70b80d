"""The attention block."""

from nautiloid.model.blocks.attention.config import AttentionConfig

__all__ = ["AttentionConfig"]
