"""Bounds of filters: checked when they are set, named when they are crossed."""

from __future__ import annotations

from nautiloid.core.errors import InputError
from nautiloid.curate.stage import Verdict


def below(reason: str, what: str, value: float, bound: float) -> Verdict:
    """The verdict on a document whose measured value is under its bound.

    >>> below("few_words", "words", 3, 50).detail
    'words 3 < 50'
    """
    return Verdict(False, reason, f"{what} {value:.4g} < {bound:.4g}")


def above(reason: str, what: str, value: float, bound: float) -> Verdict:
    """The verdict on a document whose measured value is over its bound."""
    return Verdict(False, reason, f"{what} {value:.4g} > {bound:.4g}")


def check_fraction(kind: str, **fields: float) -> None:
    """Refuse settings outside 0 to 1.

    Raises:
        InputError: Names the first such field.
    """
    for name, value in fields.items():
        if not 0 <= value <= 1:
            raise InputError(f"{kind}.{name}", value, "use a fraction from 0 to 1")


def check_order(kind: str, low: str, low_value: float, high: str, high_value: float | None) -> None:
    """Refuse a negative lower bound and one above the upper bound.

    Raises:
        InputError: Names the field.
    """
    if not low_value >= 0:
        raise InputError(f"{kind}.{low}", low_value, "use 0 or more")
    if high_value is not None and not high_value >= low_value:
        raise InputError(f"{kind}.{high}", high_value, f"use at least {low} ({low_value})")
