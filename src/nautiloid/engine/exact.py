"""The deterministic setting: what a request gets does not depend, to the last bit, on the requests beside it.

Every forward is of one request and one piece of `model.exact.PIECE` tokens. States are kept at whole
pieces only; the tokens behind them run again with every new token. So prompts, generated tokens,
resumed requests and `score` all take the arithmetic of `model.exact.logprobs`, which is the trainer's.
It is slow: a step costs as many forwards as there are requests.

Suffixes: R requests, P tokens of a piece, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nautiloid.core.errors import InputError
from nautiloid.engine.loop import Launched, Loop
from nautiloid.engine.request import Request
from nautiloid.engine.runner import Runner
from nautiloid.engine.sampler import Pick, Sampler
from nautiloid.engine.scheduler import Scheduler
from nautiloid.model import exact
from nautiloid.model.decoder import Decoder
from nautiloid.model.exact import PIECE, Carry


class ExactLoop(Loop):
    """A loop that runs one piece of one request at a time."""

    def __init__(self, scheduler: Scheduler, runner: Runner, sampler: Sampler):
        super().__init__(scheduler, runner, sampler)
        if scheduler.prefill_tokens < PIECE:
            raise InputError("prefill_tokens", scheduler.prefill_tokens, f"use at least {PIECE}")
        runner.steps = None
        scheduler.lookahead = PIECE  # cached tokens lag behind by up to a piece

    def prefill(self, plan: Sequence[tuple[Request, int]]) -> Launched:
        """Run pieces; requests whose tokens are then all through the model get one."""
        requests: list[Request] = []
        hidden: list[tuple[Tensor, int]] = []
        with torch.inference_mode(False), torch.no_grad():
            for request, count in plan:
                is_last = request.num_cached + count == request.num_tokens
                found = self._run(request, count, is_last=is_last)
                if found is not None:
                    requests.append(request)
                    hidden.append(found)
        return Launched.of(requests, lambda: [(pick,) for pick in self._draw(requests, hidden)])

    def decode(self, requests: Sequence[Request]) -> Launched:
        """The same: the piece that holds the newest token runs from its start."""
        return self.prefill([(r, r.num_tokens - r.num_cached) for r in requests])

    def _run(self, request: Request, count: int, *, is_last: bool) -> tuple[Tensor, int] | None:
        """Hidden states of the piece with the newest token, and its row there; states of whole pieces."""
        model, pool = self.runner.model, self.runner.pool
        lease = request.lease
        assert lease is not None
        start = request.num_cached
        pages = lease.pages[: pool.num_pages_for(start + count)]
        view = pool.store.view([lease.slot], [pages], [start])
        carry = Carry.load(view)
        ids = request.uncached(count)
        found = None
        for at in range(0, count, PIECE):
            part = ids[at : at + PIECE]
            is_whole = len(part) == PIECE
            if not is_whole and not is_last:
                break
            with exact.plain_mode():
                hidden_PD = exact.piece(model, part, carry if is_whole else carry.fork()).detach()
            carry.detach()
            found = hidden_PD, len(part) - 1
            request.num_cached += PIECE if is_whole else 0
        if carry.past_tokens > start:
            carry.save(view)
        return found if is_last else None

    def _draw(
        self, requests: Sequence[Request], hidden: Sequence[tuple[Tensor, int]]
    ) -> list[Pick]:
        """Sample; log probabilities are those that the trainer's head gives."""
        if not requests:
            return []
        model = self.runner.model
        with torch.inference_mode(False), torch.no_grad():
            rows = [model.logits(hidden_PD)[row] for hidden_PD, row in hidden]
            picks = self.sampler.pick(torch.stack(rows), requests)
            return [
                self._scored(pick, request, *where)
                for pick, request, where in zip(picks, requests, hidden, strict=True)
            ]

    def _scored(self, pick: Pick, request: Request, hidden_PD: Tensor, row: int) -> Pick:
        params = request.params
        if (params.has_filters or request.is_shaped) and not params.raw_logprobs:
            return pick  # its distribution is not the model's
        targets_P = torch.zeros(PIECE, dtype=torch.long, device=hidden_PD.device)
        targets_P[row] = pick.id
        temperature = 1.0 if params.raw_logprobs else params.temperature or 1.0
        with exact.plain_mode():
            found_P = exact.target_logprobs(self.runner.model, hidden_PD, targets_P, temperature)
        return replace(pick, logprob=float(found_P[row]))


def score(model: Decoder, ids: Sequence[int], temperature: float) -> list[float]:
    """Log probability of each token but the first."""
    with torch.inference_mode(False), torch.no_grad():
        tokens_T = torch.tensor(ids, device=model.device)
        found_T = exact.logprobs(model, tokens_T, (len(ids),), temperature=temperature)
    return found_T[:-1].tolist()
