"""How sure a score is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean of scores between 0 and 1.

    Args:
        stderr: Standard error of the mean.
        interval: 95 % interval (Wilson's, which stays inside 0 to 1 and is right at the ends).
        count: Number of scores.
    """

    mean: float
    stderr: float
    interval: tuple[float, float]
    count: int


def estimate(scores: Sequence[float]) -> Estimate:
    """Estimate the mean that further scores would have.

    >>> result = estimate([1.0] * 8 + [0.0] * 2)
    >>> result.mean, round(result.stderr, 3), [round(x, 2) for x in result.interval]
    (0.8, 0.126, [0.49, 0.94])
    """
    assert scores
    n = len(scores)
    mean = math.fsum(scores) / n
    stderr = math.sqrt(mean * (1 - mean) / n)
    z2 = 1.959964**2 / n
    middle = (mean + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * mean * (1 - mean) + z2 * z2 / 4) / (1 + z2)
    interval = (max(0.0, middle - half), min(1.0, middle + half))
    return Estimate(mean=mean, stderr=stderr, interval=interval, count=n)
