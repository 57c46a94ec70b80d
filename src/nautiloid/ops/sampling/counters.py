"""Random numbers that depend on a seed, a position and a stream only (SplitMix64, 53 bits).

Suffix: X any shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# what the numbers of one position are for; a draft and its verdict must not share them, or the
# token that replaces a rejected draft is biased
SAMPLE, DRAFT, ACCEPT = 0, 1, 2

_GAMMA = 0x9E3779B97F4A7C15
_STREAM = 0xD1B54A32D192ED03


def signed(value: int) -> int:
    """The int64 with the same bits as an unsigned 64-bit number.

    >>> signed((1 << 64) - 1)
    -1
    """
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _shifted(z_X: Tensor, bits: int) -> Tensor:
    """Logical shift to the right of int64."""
    return (z_X >> bits) & ((1 << (64 - bits)) - 1)


def _mixed(z_X: Tensor) -> Tensor:
    z_X = (z_X ^ _shifted(z_X, 30)) * signed(0xBF58476D1CE4E5B9)
    z_X = (z_X ^ _shifted(z_X, 27)) * signed(0x94D049BB133111EB)
    return z_X ^ _shifted(z_X, 31)


def uniforms(seeds_X: Tensor, positions_X: Tensor, stream: int = SAMPLE) -> Tensor:
    """Numbers in [0, 1), float64.

    Args:
        seeds_X: int64, the bits of each request's seed.
        positions_X: int64, index of the token.
        stream: `SAMPLE`, `DRAFT` or `ACCEPT`.

    >>> one = torch.ones(1, dtype=torch.long)
    >>> bool(uniforms(one, one) == uniforms(one, one)), bool(uniforms(one, one) == uniforms(one, 0 * one))
    (True, False)
    """
    z_X = _mixed(stream_seeds(seeds_X, stream) + (positions_X + 1) * signed(_GAMMA))
    return _shifted(z_X, 11).double() * 2.0**-53


def stream_seeds(seeds_X: Tensor, stream: int) -> Tensor:
    """Seeds whose plain numbers are those of a stream."""
    return seeds_X if stream == SAMPLE else _mixed(seeds_X + signed(stream * _STREAM))


def seed_tensor(seeds: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Unsigned 64-bit seeds as int64 with the same bits."""
    return torch.tensor([signed(seed) for seed in seeds], dtype=torch.long, device=device)
