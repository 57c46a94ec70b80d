"""Penalties on tokens that a request has seen: repetition, frequency, presence.

Suffixes: B rows of the batch, R rows with penalties, K seen ids of a row, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nautiloid.core.sampling import SamplingParams
from nautiloid.engine.request import Request


def penalize(
    logits_BV: Tensor,
    rows_R: Tensor,
    ids_RK: Tensor,
    counts_RK: Tensor,
    repetition_R: Tensor,
    frequency_R: Tensor,
    presence_R: Tensor,
) -> None:
    """Change the logits of seen ids in place.

    Args:
        ids_RK: Ids of prompt and completion, each once or equal to another entry of its row.
        counts_RK: How often the completion holds them.

    >>> one = torch.ones(1)
    >>> logits = torch.tensor([[2.0, -2.0, 5.0]])
    >>> seen, counts = torch.tensor([[0, 1]]), torch.tensor([[3, 0]])
    >>> penalize(logits, torch.tensor([0]), seen, counts, one * 2, one * 0.1, one * 0.5)
    >>> logits
    tensor([[ 0.2000, -4.0000,  5.0000]])
    """
    rows_R1 = rows_R[:, None]
    seen = logits_BV[rows_R1, ids_RK]
    factor = repetition_R[:, None]
    changed = torch.where(seen > 0, seen / factor, seen * factor)
    changed = changed - frequency_R[:, None] * counts_RK - presence_R[:, None] * (counts_RK > 0)
    logits_BV[rows_R1, ids_RK] = changed


class Penalties:
    """What the running requests with penalties have seen, on the device.

    A request takes a row of the tables at its first token and leaves it with `forget`; each step
    sends only its new tokens. The first id of a row fills the columns that are not used yet.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.ids_NK = torch.zeros(0, 64, dtype=torch.long, device=device)
        self.counts_NK = torch.zeros(0, 64, dtype=torch.long, device=device)
        self.seen: dict[int, _Seen] = {}
        self.free: list[int] = []

    def apply(self, logits_BV: Tensor, requests: Sequence[tuple[int, Request]]) -> None:
        """Penalize the logits of requests, each given with its row."""
        rows = [row for row, _ in requests]
        seen = [self._update(request) for _, request in requests]
        self._send(seen)
        most = 1 << (max(len(one.columns) for one in seen) - 1).bit_length()
        each_R = torch.tensor([one.row for one in seen], device=self.device)
        sizes_R = torch.tensor([len(one.columns) for one in seen], device=self.device)
        column_K = torch.arange(most, device=self.device)
        column_RK = torch.where(column_K < sizes_R[:, None], column_K, 0)
        params: list[SamplingParams] = [request.params for _, request in requests]
        settings = torch.tensor(
            [(p.repetition_penalty, p.frequency_penalty, p.presence_penalty) for p in params],
            device=self.device,
        )
        penalize(
            logits_BV,
            torch.tensor(rows, device=self.device),
            self.ids_NK[each_R[:, None], column_RK],
            self.counts_NK[each_R[:, None], column_RK],
            *settings.unbind(1),
        )

    def forget(self, request_id: int) -> None:
        """Free the row of a request that has ended."""
        seen = self.seen.pop(request_id, None)
        if seen is not None:
            self.free.append(seen.row)

    def _update(self, request: Request) -> _Seen:
        seen = self.seen.get(request.id)
        if seen is None:
            seen = self.seen[request.id] = _Seen(self._row())
            # presence and frequency count the completion only
            is_whole = request.params.repetition_penalty != 1
            for token_id in request.prompt_ids if is_whole else request.prompt_ids[:1]:
                seen.add(token_id, 0)
        assert len(request.ids) >= seen.num_ids, "tokens of a penalized request were taken back"
        for token_id in request.ids[seen.num_ids :]:
            seen.add(token_id, 1)
        seen.num_ids = len(request.ids)
        return seen

    def _row(self) -> int:
        if not self.free:
            have = len(self.ids_NK)
            more = max(4, have)
            self.free = list(reversed(range(have, have + more)))
            self.ids_NK = torch.cat([self.ids_NK, self.ids_NK.new_zeros(more, self._width)])
            self.counts_NK = torch.cat(
                [self.counts_NK, self.counts_NK.new_zeros(more, self._width)]
            )
        return self.free.pop()

    @property
    def _width(self) -> int:
        return self.ids_NK.shape[1]

    def _send(self, seen: Sequence[_Seen]) -> None:
        """Write what is new into the tables, in one piece."""
        most = max(len(one.columns) for one in seen)
        if most > self._width:
            more = (1 << (most - 1).bit_length()) - self._width
            self.ids_NK = torch.nn.functional.pad(self.ids_NK, (0, more))
            self.counts_NK = torch.nn.functional.pad(self.counts_NK, (0, more))
        news = [(one.row, one.columns[i], i, one.counts[i]) for one in seen for i in one.changed]
        for one in seen:
            one.changed.clear()
        if news:
            row, column, token_id, count = torch.tensor(news, device=self.device).unbind(1)
            self.ids_NK[row, column] = token_id
            self.counts_NK[row, column] = count


class _Seen:
    """Ids of one request: their columns, their counts, and those not yet on the device."""

    def __init__(self, row: int):
        self.row = row
        self.columns: dict[int, int] = {}
        self.counts: dict[int, int] = {}
        self.changed: set[int] = set()
        self.num_ids = 0

    def add(self, token_id: int, count: int) -> None:
        self.columns.setdefault(token_id, len(self.columns))
        self.counts[token_id] = self.counts.get(token_id, 0) + count
        self.changed.add(token_id)
