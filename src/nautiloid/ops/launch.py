"""How a GPU kernel is started."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor


@functools.cache
def can_chain(device: torch.device) -> bool:
    """Whether a kernel may start while the one before it still runs (Hopper and later).

    >>> can_chain(torch.device("cpu"))
    False
    """
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


def launch(
    kernel: Any, grid: tuple[int, ...], *args: Any, is_chained: bool = False, **options: Any
) -> None:
    """Run a kernel on a grid of programs; an empty grid runs nothing.

    Args:
        kernel: A Triton kernel.
        grid: Programs.
        args: Its arguments, a tensor first.
        is_chained: The kernel keeps the rules of `ops.chain` and has a constexpr CHAINED.
        options: Constants and launch parameters.

    >>> launch(None, (0, 3))
    """
    if not all(grid):
        return
    if is_chained:
        first = args[0]
        assert isinstance(first, Tensor)
        options["CHAINED"] = can_chain(first.device)
        if options["CHAINED"]:
            options["launch_pdl"] = True
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
