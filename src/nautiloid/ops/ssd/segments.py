"""How the scan's GPU kernels cut packed sequences into segments of whole chunks.

One program walks one segment of one head, so a GPU fills up only when there are enough of them; but
every cut costs a pass that finds the state there. Long sequences are therefore cut just as far as
the GPU needs.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nautiloid.ops.packing import to_device


@dataclass(frozen=True)
class Segments:
    """Segments in token order.

    Args:
        table: int32 [segments, 7]: first chunk, chunks, first token, end of its sequence, sequence,
            place within the sequence, segments of the sequence.
        firsts: First chunk of each segment and, appended, the number of chunks; on the host.
    """

    table: Tensor
    firsts: tuple[int, ...]
    is_cut: bool

    def __len__(self) -> int:
        return len(self.firsts) - 1

    def slabs(self, most_chunks: int) -> list[tuple[int, int]]:
        """Consecutive ranges of segments with at most `most_chunks` chunks, or one segment.

        >>> cut([40], 10, 1, torch.device("cpu")).slabs(2)
        [(0, 2), (2, 4)]
        """
        out: list[tuple[int, int]] = []
        start = 0
        for i in range(1, len(self) + 1):
            if i == len(self) or self.firsts[i + 1] - self.firsts[start] > most_chunks:
                out.append((start, i))
                start = i
        return out


def chunks_in_all(lengths: Sequence[int], chunk: int) -> int:
    """Chunks of all sequences.

    >>> chunks_in_all([5, 3], 4)
    3
    """
    return sum(-(-n // chunk) for n in lengths)


@functools.lru_cache(maxsize=64)
def _cut(lengths: tuple[int, ...], chunk: int, longest: int, device: torch.device) -> Segments:
    rows: list[tuple[int, ...]] = []
    firsts = [0]
    start = 0
    for s, n in enumerate(lengths):
        chunks = -(-n // chunk)
        places = -(-chunks // longest)
        for place in range(places):
            # even shares, so that no program gets a short rest
            first, last = chunks * place // places, chunks * (place + 1) // places
            rows.append(
                (firsts[-1], last - first, start + first * chunk, start + n, s, place, places)
            )
            firsts.append(firsts[-1] + last - first)
        start += n
    table = to_device(torch.tensor(rows, dtype=torch.int32).view(-1, 7), device, torch.int32)
    return Segments(table, tuple(firsts), len(rows) > sum(n > 0 for n in lengths))


def cut(lengths: Sequence[int], chunk: int, longest: int, device: torch.device) -> Segments:
    """Segments of at most `longest` chunks.

    >>> cut([5, 3], 2, 2, torch.device("cpu")).table[:, :3].tolist()
    [[0, 1, 0], [1, 2, 2], [3, 2, 5]]
    """
    return _cut(tuple(lengths), chunk, longest, device)
