"""Runs the model over pieces of requests, reading and writing their cached states.

Suffixes: T tokens of all pieces, S pieces, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from nautiloid.engine.cache import CachePool
from nautiloid.engine.program import Programs
from nautiloid.engine.request import Request
from nautiloid.model.context import Context
from nautiloid.model.decoder import Decoder
from nautiloid.ops.head import logprobs


class Follower(Protocol):
    """Wants the outputs of the trunk over prompts."""

    def prefilled(
        self, requests: Sequence[Request], lengths: Sequence[int], hidden_TD: Tensor
    ) -> None:
        """Take the outputs over the newest cached tokens of each request."""
        ...


class Runner:
    """One packed forward over several requests.

    Attributes:
        follower: Is given what prompts leave; None when nobody needs it.
    """

    def __init__(self, model: Decoder, pool: CachePool, device: torch.device):
        self.model = model
        self.pool = pool
        self.device = device
        self.programs = Programs(model, pool.store)
        self.follower: Follower | None = None

    def prefill(self, plan: Sequence[tuple[Request, int]]) -> Tensor:
        """Run the next tokens of each request; logits [S, V] after the last one of each."""
        requests = [request for request, _ in plan]
        lengths = [count for _, count in plan]
        tokens: list[int] = []
        positions: list[int] = []
        for request, count in plan:
            tokens += request.uncached(count)
            positions += range(request.num_cached, request.num_cached + count)
        hidden_TD = self._hidden(requests, lengths, tokens, positions)
        if self.follower is not None:
            self.follower.prefilled(requests, lengths, hidden_TD)
        last_S = torch.tensor(lengths, device=self.device).cumsum(0) - 1
        return self.model.logits(hidden_TD[last_S])

    def decode(self, requests: Sequence[Request]) -> Tensor:
        """Run the newest token of each request; logits [S, V]."""
        tokens = [request.uncached(1)[0] for request in requests]
        positions = [request.num_cached for request in requests]
        slots, pages = self._leases(requests, [1] * len(requests))
        program = self.programs.find(slots, pages)
        if program is not None:
            logits = program.run(tokens, positions, pages)
            for request in requests:
                request.num_cached += 1
            return logits
        return self.model.logits(self._hidden(requests, [1] * len(requests), tokens, positions))

    def _leases(
        self, requests: Sequence[Request], lengths: Sequence[int]
    ) -> tuple[list[int], list[tuple[int, ...]]]:
        """Slot of each request, and its pages as far as the new tokens need them."""
        slots, pages = list[int](), list[tuple[int, ...]]()
        for request, length in zip(requests, lengths, strict=True):
            assert request.lease is not None
            slots.append(request.lease.slot)
            count = self.pool.num_pages_for(request.num_cached + length)
            pages.append(request.lease.pages[:count])
        return slots, pages

    def _hidden(
        self,
        requests: Sequence[Request],
        lengths: list[int],
        tokens: list[int],
        positions: list[int],
    ) -> Tensor:
        past = [request.num_cached for request in requests]
        slots, pages = self._leases(requests, lengths)
        view = self.pool.store.view(slots, pages, past)
        context = Context(
            lengths=tuple(lengths),
            positions_T=torch.tensor(positions, device=self.device),
            state=view,
        )
        output = self.model.hidden(torch.tensor(tokens, device=self.device), context)
        for request, length in zip(requests, lengths, strict=True):
            request.num_cached += length
        return output.hidden_TD

    def score(self, sequences: Sequence[Sequence[int]], temperature: float) -> list[list[float]]:
        """Log probability of each token but the first of each sequence, in one forward without a cache."""
        lengths = [len(ids) for ids in sequences]
        tokens_T = torch.tensor([i for ids in sequences for i in ids], device=self.device)
        hidden_TD = self.model.hidden(tokens_T, Context.packed(lengths, self.device)).hidden_TD
        # the last token of a sequence predicts nothing here; its row is dropped below
        targets_T = tokens_T.roll(-1)
        logprob_T, _ = logprobs(hidden_TD, self.model.head_weight, targets_T, temperature)
        return [row[:-1].tolist() for row in logprob_T.split(lengths)]
