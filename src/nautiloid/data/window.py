"""A window of encoded samples packed into rows, and rows turned into batches.

Suffix T: tokens of all rows of a batch, laid end to end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nautiloid.core.seed import Seed
from nautiloid.core.types import MediaPart
from nautiloid.data.encoding import Encoded
from nautiloid.data.packing import best_fit

if TYPE_CHECKING:
    from nautiloid.data.batch import Batch


class Piece(NamedTuple):
    """Positions `start` to `start + length` of a sample."""

    item: Encoded
    start: int
    length: int


Row = tuple[Piece, ...]


@dataclass(frozen=True)
class Window:
    """Rows packed from samples that were drawn together.

    Args:
        start: State of the mixture before the first sample, number of the window and of the rows
            in front of it: all that is needed to make the window again.
        rows: In training order.
    """

    start: Mapping[str, Any]
    rows: Sequence[Row]


def pack_rows(items: Sequence[Encoded], row_tokens: int, seed: Seed) -> list[Row]:
    """Cut items that exceed a row, pack the pieces by best fit and shuffle the rows."""
    pieces = [
        Piece(item, start, min(row_tokens, item.positions - start))
        for item in items
        for start in range(0, item.positions, row_tokens)
    ]
    packed = best_fit([piece.length for piece in pieces], row_tokens)
    rows = [tuple(pieces[i] for i in row) for row in packed]
    seed.random().shuffle(rows)
    return rows


def make_batch(rows: Sequence[Row], row_tokens: int, *, is_joined: bool, pad_id: int) -> Batch:
    """Lay rows end to end.

    Args:
        rows: Each with at most `row_tokens` positions; the rest is padding, a sequence of its own.
        row_tokens: Tokens of a row.
        is_joined: The pieces of a row are one sequence; otherwise each is its own.
        pad_id: Id of padding.
    """
    import torch

    from nautiloid.data.batch import Batch

    total = len(rows) * row_tokens
    tokens = np.full(total, pad_id, dtype=np.int64)
    targets = np.full(total, pad_id, dtype=np.int64)
    weight = np.zeros(total, dtype=np.float32)
    positions = np.empty(total, dtype=np.int64)
    sample = np.full(total, -1, dtype=np.int32)
    counting = np.arange(row_tokens)
    lengths: list[int] = []
    samples: dict[int, int] = {}  # identity of an item -> its number in this batch
    media: list[MediaPart] = []
    for r, row in enumerate(rows):
        at = begin = r * row_tokens
        is_open = False  # the position before `at` still lacks its target
        for item, start, length in row:
            end = at + length
            known = min(
                length, item.ids.size - 1 - start
            )  # positions whose next token is the item's own
            first = start + 1
            tokens[at:end] = item.ids[start : start + length]
            targets[at : at + known] = item.ids[first : first + known]
            if isinstance(item.weight, np.ndarray):
                weight[at : at + known] = item.weight[first : first + known]
            else:
                weight[at : at + known] = item.weight
            if is_open:
                targets[at - 1] = tokens[at]  # what really comes next, though not trained
            is_open = known < length
            if id(item) not in samples:
                samples[id(item)] = len(samples)
                media.extend(item.media)
            sample[at:end] = samples[id(item)]
            if not is_joined:
                positions[at:end] = counting[:length]
                lengths.append(length)
            at = end
        if is_joined and at > begin:
            positions[begin:at] = counting[: at - begin]
            lengths.append(at - begin)
        padding = begin + row_tokens - at
        if padding:
            positions[at : at + padding] = counting[:padding]
            lengths.append(padding)
    return Batch(
        tokens_T=torch.from_numpy(tokens),
        targets_T=torch.from_numpy(targets),
        weight_T=torch.from_numpy(weight),
        positions_T=torch.from_numpy(positions),
        lengths=tuple(lengths),
        row_lengths=(row_tokens,) * len(rows),
        sample_T=torch.from_numpy(sample),
        media=tuple(media),
    )
