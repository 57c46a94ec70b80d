"""How a GPU kernel is started."""

from __future__ import annotations

from typing import Any


def launch(kernel: Any, grid: tuple[int, ...], *args: Any, **options: Any) -> None:
    """Run a kernel on a grid of programs; an empty grid runs nothing.

    >>> launch(None, (0, 3))
    """
    if all(grid):
        kernel[grid](*args, **options)


def blocks(size: int, block: int) -> int:
    """Blocks that cover a size.

    >>> blocks(5, 4)
    2
    """
    return -(-size // block)


def power_of_2(size: int) -> int:
    """The smallest power of two that is no smaller.

    >>> power_of_2(5), power_of_2(8), power_of_2(1)
    (8, 8, 1)
    """
    return 1 << (size - 1).bit_length()
