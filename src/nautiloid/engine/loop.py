"""One step of the engine: plan, launch, take.

The scheduler says which requests bring tokens, the runner launches their forwards, and what was picked
is given to the requests. On a GPU the next step is launched before the host has seen this one: its
picks are taken one step late.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from nautiloid.core.types import DraftCounts
from nautiloid.engine.graphs import picks
from nautiloid.engine.request import Request
from nautiloid.engine.runner import Runner
from nautiloid.engine.sampler import Pick, Sampler
from nautiloid.engine.scheduler import Scheduler

log = logging.getLogger("nautiloid.engine")


@dataclass(frozen=True)
class Launched:
    """A forward on its way.

    Args:
        requests: Those that get tokens from it; each has as many more `in_flight` as it may get.
        counts: The most tokens that each may get.
        picks: Waits for the device; the tokens of each request in order, at least one.
    """

    requests: Sequence[Request]
    counts: Sequence[int]
    picks: Callable[[], Sequence[Sequence[Pick]]]

    @property
    def is_awaited(self) -> bool:
        """Whether any request still wants its tokens."""
        return any(request.finish_reason is None for request in self.requests)

    @classmethod
    def of(
        cls,
        requests: Sequence[Request],
        picks: Callable[[], Sequence[Sequence[Pick]]],
        count: int = 1,
    ) -> Launched:
        """Note the tokens that are on their way to each request."""
        for request in requests:
            request.in_flight += count
        return cls(requests, [count] * len(requests), picks)


class Speculative(Protocol):
    """Decoding steps that may bring several tokens."""

    @property
    def counts(self) -> DraftCounts:
        """Drafts of all requests so far."""
        ...

    def launch(self, requests: Sequence[Request]) -> Launched:
        """Run one step; everything is known when it returns."""
        ...


class Loop:
    """Steps of an engine.

    Attributes:
        version: Weights that new completions are begun with.
        pending: Forwards of the last step whose picks were not taken yet.
        speculator: Makes the decoding steps; None decodes token by token.
    """

    def __init__(self, scheduler: Scheduler, runner: Runner, sampler: Sampler):
        self.scheduler, self.runner, self.sampler = scheduler, runner, sampler
        self.version = 0
        self.pending: list[Launched] = []
        self.speculator: Speculative | None = None
        scheduler.settle = self.settle

    def advance(self) -> list[Request]:
        """Run one step; the requests that have ended."""
        with torch.inference_mode():
            if not self.runs_ahead:
                self.settle()
            self.scheduler.admit()
            self.scheduler.compact()
            decodes = self.scheduler.decodes()
            prefills = self.scheduler.prefills()
            before, self.pending = self.pending, []
            try:
                if prefills:
                    self.pending.append(self.prefill(prefills))
                    self.scheduler.keep([request for request, _ in prefills])
                    if decodes and self.runner.steps is None and self.speculator is None:
                        # on a CPU a batch without gaps between its slots is a recorded step
                        self.settle()
                        decodes = self.scheduler.decodes()
                if decodes:
                    step = self.speculator.launch if self.speculator else self.decode
                    self.pending.append(step(decodes))
            finally:
                for launched in before:
                    self.take(launched)
            if not self.runs_ahead:
                self.settle()
            self.pending = [launched for launched in self.pending if launched.is_awaited]
        return self.ended()

    @property
    def runs_ahead(self) -> bool:
        """Whether the next step may be launched before the tokens of this one are known."""
        return (
            self.runner.steps is not None
            and self.speculator is None
            and all(request.is_free for request in self.scheduler.running.values())
        )

    def ended(self) -> list[Request]:
        """Running requests that have got their last token."""
        return [r for r in self.scheduler.running.values() if r.finish_reason is not None]

    def settle(self) -> None:
        """Take everything that is on its way; no request has tokens in flight afterwards."""
        pending, self.pending = self.pending, []
        for launched in pending:
            self.take(launched)

    def prefill(self, plan: Sequence[tuple[Request, int]]) -> Launched:
        """Run prompts and resumed requests on; those whose tokens are then all cached get one."""
        logits_BV = self.runner.prefill(plan)
        requests = [r for r, _ in plan if r.num_cached == r.num_tokens]
        steps = self.runner.steps
        if steps is None or not requests or not all(r.is_free for r in requests):
            return Launched.of(requests, lambda: self._pick(logits_BV, requests))
        fetched = steps.draw_prompts(logits_BV, requests)
        return Launched.of(requests, lambda: picks(fetched, len(requests)))

    def decode(self, requests: Sequence[Request]) -> Launched:
        """Run the newest token of each request; each gets one."""
        steps = self.runner.steps
        if steps is None:
            logits_BV = self.runner.decode(requests)
            return Launched.of(requests, lambda: self._pick(logits_BV, requests))
        step, count = steps.launch(requests), len(requests)
        if not all(request.is_free for request in requests):
            return Launched.of(requests, lambda: self._pick(step.logits[:count], requests))
        fetched = step.words.fetch()
        return Launched.of(requests, lambda: picks(fetched, count))

    def _pick(self, logits_BV: torch.Tensor, requests: Sequence[Request]) -> list[tuple[Pick]]:
        return [(pick,) for pick in self.sampler.pick(logits_BV, requests)] if requests else []

    def take(self, launched: Launched) -> None:
        """Give every request what was picked for it, up to the token that ends it."""
        taken = launched.picks()
        for request, count, given in zip(launched.requests, launched.counts, taken, strict=True):
            request.in_flight -= count
            for pick in given:
                if request.finish_reason is not None:  # ended while its next token was on its way
                    break
                self._give(request, pick)

    def _give(self, request: Request, pick: Pick) -> None:
        if not request.ids:
            request.version = self.version
        if math.isfinite(pick.logprob):
            request.append(pick.id, pick.logprob, pick.top)
            return
        log.error(
            "request %d: logits are not finite after %d tokens", request.id, request.num_tokens
        )
        request.finish_reason = "error"
        if request.lease is not None:
            self.scheduler.pool.scrub(request.lease)
