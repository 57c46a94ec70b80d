"""Device tensors that describe how packed sequences lie, made once for each packing."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor


def to_device(values: Sequence[int] | Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Host integers on a device, without making the host wait for a GPU."""
    # cached tables outlive an inference mode they are made in, and serve training too
    with torch.inference_mode(False):
        tensor = torch.as_tensor(values, dtype=dtype)
        if device.type != "cuda":
            return tensor.to(device)
        return tensor.pin_memory().to(device, non_blocking=True)


@functools.lru_cache(maxsize=64)
def _starts(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    total, starts = 0, [0]
    for n in lengths:
        total += n
        starts.append(total)
    return to_device(starts, device, torch.int32)


def cu_seqlens(lengths: Sequence[int], device: torch.device) -> Tensor:
    """int32 [S + 1]: where each sequence starts, and the end.

    >>> cu_seqlens([2, 3], torch.device("cpu")).tolist()
    [0, 2, 5]
    """
    return _starts(tuple(lengths), device)


@functools.lru_cache(maxsize=64)
def _chunks(lengths: tuple[int, ...], chunk: int, device: torch.device) -> Tensor:
    rows: list[tuple[int, int]] = []
    for s, n in enumerate(lengths):
        rows += [(s, z) for z in range(-(-n // chunk))]
    return to_device(torch.tensor(rows, dtype=torch.int32), device, torch.int32)


def chunk_table(lengths: Sequence[int], chunk: int, device: torch.device) -> Tensor:
    """int32 [chunks, 2]: sequence and index within it of each chunk; no chunk crosses sequences.

    >>> chunk_table([2, 3], 2, torch.device("cpu")).tolist()
    [[0, 0], [1, 0], [1, 1]]
    """
    return _chunks(tuple(lengths), chunk, device)
