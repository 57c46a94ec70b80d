"""Drawing tokens from logits."""

from nautiloid.ops.sampling.reference import filter_logits, sample

__all__ = ["filter_logits", "sample"]
