"""Number formats of matrix products, one file a format, looked up by name."""

from nautiloid.ops.quant.format import QuantFormat, quant

__all__ = ["QuantFormat", "quant"]
