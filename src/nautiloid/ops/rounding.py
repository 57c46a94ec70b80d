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
def rounding_key(seed, salt, ROUNDS: tl.constexpr):
    """One word out of the int64 that `seed` points to, and of what tells its users apart."""
    key = tl.cast(0, tl.uint32)
    if ROUNDS:
        word = tl.load(seed)
        key = scramble(word.to(tl.uint32) ^ salt.to(tl.uint32))
        key = scramble((word >> 32).to(tl.uint32) ^ key)
    return key


@triton.jit
def random_bits(key, index):
    """32 bits for each index, the high ones good; `key` should come out of `scramble`."""
    x = index.to(tl.uint32) * 0x9E3779B1 + key
    return (x ^ (x >> 15)) * 0x2C1B3C6D


@triton.jit
def round_random(x, bits, DTYPE: tl.constexpr):
    """x as bfloat16 or float16, up or down with the probabilities that keep its mean.

    float16 saturates at its largest number; NaN stays.
    """
    raw = x.to(tl.uint32, bitcast=True)
    if DTYPE == tl.bfloat16:  # noqa: SIM300 (the constant decides how to compare)
        raw = tl.where(x == x, raw + (bits >> 16), raw)
        y = (raw >> 16).to(tl.uint16).to(tl.bfloat16, bitcast=True)
    else:
        # half a unit of the last place either way, then to nearest; below 2^-14 units are equal
        binade = (raw & 0x7F800000).to(tl.float32, bitcast=True)
        share = ((bits >> 9) | 0x3A800000).to(tl.float32, bitcast=True) - 0.00146484375
        y = x + share * tl.maximum(binade, 6.103515625e-05)
        y = tl.clamp(y, -65504.0, 65504.0, propagate_nan=tl.PropagateNan.ALL).to(tl.float16)
    return y
