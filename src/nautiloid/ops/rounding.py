# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false
"""Random rounding of float32 to 16 bits inside GPU kernels, with bits that depend on a counter alone."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def scramble(x):
    """A bijection of uint32 whose output looks random (lowbias32 of C. Wellons)."""
    x ^= x >> 16
    x *= 0x7FEB352D
    x ^= x >> 15
    x *= 0x846CA68B
    x ^= x >> 16
    return x


@triton.jit
def round_random(x, bits, DTYPE: tl.constexpr):
    """x as bfloat16 or float16, up or down with the probabilities that keep its mean.

    float16 saturates at its largest number; NaN stays.
    """
    raw = x.to(tl.uint32, bitcast=True)
    if tl.bfloat16 == DTYPE:
        raw = tl.where(x == x, raw + (bits & 0xFFFF), raw)
        return (raw >> 16).to(tl.uint16).to(tl.bfloat16, bitcast=True)
    low = bits & 0x1FFF
    raw = (raw + low) & 0xFFFFE000
    # below 2^-14 float16 is spaced by 2^-24
    size = tl.abs(x)
    count = tl.floor(size * 16777216.0 + low.to(tl.float32) * (1.0 / 8192))
    tiny = tl.where(x < 0, -count, count) * (1.0 / 16777216.0)
    y = tl.where(size < 6.103515625e-05, tiny, raw.to(tl.float32, bitcast=True))
    y = tl.minimum(tl.maximum(y, -65504.0), 65504.0)
    return tl.where(x == x, y, x).to(tl.float16)
