"""How a GPU kernel is started."""

from __future__ import annotations

from typing import Any


def launch(kernel: Any, grid: tuple[int, ...], *args: Any, **options: Any) -> None:
    """Run a kernel on a grid of programs; an empty grid runs nothing.

    >>> launch(None, (0, 3))
    """
    if all(grid):
        kernel[grid](*args, **options)
