"""Best-fit packing of pieces into rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Pack by best fit decreasing: each piece goes to the fullest row that still has room for it.

    Open rows are bucketed by the room they have left, and one integer has a bit for every room that
    occurs, so finding the tightest row is a shift and a lowest-set-bit, whatever the number of rows:
    n log n for the sort plus `capacity / 64` machine words a piece.
    Method: Ding et al., Fewer Truncations Improve Language Modeling (arXiv 2404.10830).

    Args:
        lengths: Tokens of each piece, 1 to `capacity`.
        capacity: Tokens of a row.

    Returns:
        The pieces (indices into `lengths`) of each row, ascending within a row.

    >>> best_fit([3, 5, 2, 4], 8)
    [[0, 1], [2, 3]]
    """
    array = np.asarray(lengths, dtype=np.int64)
    assert array.size == 0 or (array.min() >= 1 and array.max() <= capacity), (
        "pieces must fit a row"
    )
    rows: list[list[int]] = []
    open_rows: defaultdict[int, list[int]] = defaultdict(list)  # room left -> rows
    rooms = 0
    for index in np.argsort(-array, kind="stable").tolist():
        length = int(array[index])
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            row = open_rows[room].pop()
            if not open_rows[room]:
                rooms ^= 1 << room
            rows[row].append(index)
        else:
            room, row = capacity, len(rows)
            rows.append([index])
        left = room - length
        if left:
            open_rows[left].append(row)
            rooms |= 1 << left
    for row_pieces in rows:
        row_pieces.sort()
    return rows
