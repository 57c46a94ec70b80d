"""Forwards of fixed size over drafts, as CUDA graphs on a GPU.

Suffixes: B rows, T tokens of a row, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nautiloid.engine.request import Request
from nautiloid.engine.routes import POOL_TOKENS
from nautiloid.engine.words import Words
from nautiloid.model.context import Context
from nautiloid.model.views import FixedView, StateView
from nautiloid.ops.packing import to_device

if TYPE_CHECKING:
    from nautiloid.engine.graphs import Steps


class Check:
    """The forward over the newest token and the drafts of one batch size.

    Args:
        size: Rows.
        count: Tokens of each row.
        accepted: int32 [slots, 1], pending tokens of each slot that count.
    """

    def __init__(self, size: int, count: int, steps: Steps, accepted: Tensor):
        self.size, self.count, self.steps, self.accepted = size, count, steps, accepted
        device = steps.model.device
        self.words = Words(size, steps.store.null_slot, device)
        self.tokens = torch.zeros(size * count, dtype=torch.long, device=device)
        self.places = torch.arange(size * count, device=device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.hidden_TD = self.logits_TV = torch.empty(0)

    def run(
        self, requests: Sequence[Request], tokens: Sequence[Sequence[int]]
    ) -> tuple[Tensor, Tensor]:
        """Trunk outputs [B, T, D] and logits [B, T, V] of the requests."""
        steps, words = self.steps, self.words
        if self.graph is None:
            self.graph = steps.record(lambda: self._forward(self._fixed_view()))
        words.fill(requests)
        if steps.routes is not None:
            words.host["route"][:] = steps.routes.next(self.size * self.count)
        words.send()
        spare = self.size * self.count - len(tokens) * self.count
        ids = [*chain.from_iterable(tokens), *[0] * spare]
        self.tokens.copy_(to_device(ids, self.tokens.device, torch.long))
        if self.graph is None:
            self._forward(self._host_view(requests))
        else:
            self.graph.replay()
        shape = (self.size, self.count)
        hidden_BTD, logits_BTV = (
            x.unflatten(0, shape)[: len(requests)] for x in (self.hidden_TD, self.logits_TV)
        )
        return hidden_BTD, logits_BTV

    def _forward(self, view: StateView) -> None:
        steps, words = self.steps, self.words.device
        view.accepted_S = self.accepted[words["slot"].long(), 0]
        past_B, places = words["past"].long(), self.places
        positions = past_B[:, None] + places[: self.count]
        context = Context(
            lengths=(self.count,) * self.size, positions_T=positions.flatten(), state=view
        )
        if steps.routes is not None:
            context.replay = steps.routes.take((words["route"][:1] + places) % POOL_TOKENS)
        if steps.store.seed is not None:
            steps.store.seed.add_(1)
        self.hidden_TD = steps.model.hidden(self.tokens, context).hidden_TD
        self.logits_TV = steps.model.logits(self.hidden_TD)

    def _fixed_view(self) -> FixedView:
        words = self.words.device
        return FixedView(self.steps.store, words["slot"], words["past"], self.count)

    def _host_view(self, requests: Sequence[Request]) -> StateView:
        store, spare = self.steps.store, self.size - len(requests)
        slots = [r.lease.slot if r.lease else 0 for r in requests]
        pages = [r.lease.pages if r.lease else () for r in requests]
        null = (0,) * -(-(1 + self.count) // store.page_tokens) if store.pages else ()
        return store.view(
            slots + [store.null_slot] * spare,
            pages + [null] * spare,
            [r.num_cached for r in requests] + [1] * spare,
        )
