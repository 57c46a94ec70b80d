"""Runs the model over pieces of requests, reading and writing their cached states.

Suffixes: T tokens of all pieces, S pieces, D hidden size, V vocabulary.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from nautiloid.engine.cache import CachePool
from nautiloid.engine.graphs import Steps
from nautiloid.engine.program import Programs
from nautiloid.engine.request import Request
from nautiloid.engine.routes import UniformRoutes
from nautiloid.model.context import Context
from nautiloid.model.decoder import Decoder
from nautiloid.ops.head import logprobs
from nautiloid.ops.packing import to_device


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
        steps: Decoding steps that need not wait for the host; None where they do not pay.
        follower: Is given what prompts leave; None when nobody needs it.
    """

    def __init__(
        self,
        model: Decoder,
        pool: CachePool,
        device: torch.device,
        routes: UniformRoutes | None = None,
    ):
        self.model = model
        self.pool = pool
        self.device = device
        self.routes = routes
        self.programs = Programs(model, pool.store)
        if routes is not None:
            self.programs.obstacle = "forced experts"
        self.steps = Steps(model, pool.store, routes) if device.type == "cuda" else None
        self.follower: Follower | None = None

    def prefill(self, plan: Sequence[tuple[Request, int]]) -> Tensor:
        """Run the next tokens of each request; logits [S, V] of those whose tokens are all cached."""
        requests = [request for request, _ in plan]
        lengths = [count for _, count in plan]
        tokens: list[int] = []
        positions: list[int] = []
        for request, count in plan:
            tokens += request.uncached(count)
            positions += range(request.num_cached, request.num_cached + count)
        hidden_TD = self._hidden(requests, lengths, tokens, positions)
        if self.steps is not None:
            self.steps.forget_pages([r.lease.slot for r in requests if r.lease])
        if self.follower is not None:
            self.follower.prefilled(requests, lengths, hidden_TD)
        ends = list(itertools.accumulate(lengths))
        # nothing is drawn for a request whose tokens are not all cached
        rows = [i for i, r in enumerate(requests) if r.num_cached == r.num_tokens]
        if not rows:
            return hidden_TD.new_empty(0, self.model.config.vocab_size)
        last_S = to_device([ends[i] - 1 for i in rows], self.device, torch.long)
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
            positions_T=to_device(positions, self.device, torch.long),
            state=view,
            replay=self.routes.run(len(tokens)) if self.routes else None,
        )
        if view.seed is not None:
            view.seed.add_(1)
        output = self.model.hidden(to_device(tokens, self.device, torch.long), context)
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
