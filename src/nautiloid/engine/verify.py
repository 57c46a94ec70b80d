"""A decoding step that checks drafts: one forward over the newest token and the drafts of each request.

Keys and values of rejected drafts are overwritten by what comes next. States of Mamba layers cannot be
rolled back, so the forward leaves them as they were and keeps what it would have added as `pending`;
the next forward begins by adding as many of those as were accepted (`ops.mamba`).

Suffixes: B requests, K drafts a request, T = K + 1 tokens a request, D hidden size, V vocabulary.
"""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nautiloid.core.types import DraftCounts
from nautiloid.engine.draft_steps import DraftStep, fits
from nautiloid.engine.drafts import Drafter, Drafts, MTPDrafter, NgramDrafter
from nautiloid.engine.loop import Launched, Loop
from nautiloid.engine.request import Request
from nautiloid.engine.sampler import Pick, Settings, top_logprobs
from nautiloid.engine.speculation import DraftTally, Speculation
from nautiloid.model.blocks.mamba.block import Mamba
from nautiloid.model.context import Context
from nautiloid.ops.sampling import filter_logits, greedy
from nautiloid.ops.sampling.counters import seed_tensor
from nautiloid.ops.sampling.rejection import reject


@dataclass(frozen=True)
class _Group:
    """Requests that bring the same number of tokens; `drafts` may be fewer, the rest is filling."""

    requests: list[Request]
    drafts: list[Sequence[int]]
    q: list[Tensor] | None
    tokens: int


class Speculator:
    """Decoding steps with drafts, in place of the loop's plain ones."""

    def __init__(self, speculation: Speculation, loop: Loop):
        self.speculation, self.loop = speculation, loop
        runner = loop.runner
        self.model, self.pool, self.device = runner.model, runner.pool, runner.device
        self.drafter: Drafter
        if speculation.kind == "mtp":
            self.drafter = runner.follower = MTPDrafter(
                self.model, self.pool, self.device, runner.routes
            )
        else:
            self.drafter = NgramDrafter(speculation)
        # a step may write that many rows beyond the newest token
        loop.scheduler.lookahead = speculation.num_tokens
        loop.scheduler.conclude = self.conclude
        self.accepted = self.pool.store.slots["verify"]["accepted"]
        self.tally = DraftTally(speculation.num_tokens)
        self.steps: dict[tuple[int, bool], DraftStep] = {}
        self.mixers = [x.mixer for x in self.model.layers if isinstance(x.mixer, Mamba)]

    @property
    def counts(self) -> DraftCounts:
        """Drafts of all requests so far."""
        return self.tally.counts

    def launch(self, requests: Sequence[Request]) -> Launched:
        """Run one step of these requests; what they get is known when it returns."""
        step = self._recorded(requests)
        if step is not None:
            ordered = self._run_recorded(step, requests)
            return Launched.of(requests, lambda: ordered)
        speaking = [r for r in requests if r.drafting is not None]
        counts = [self._most_drafts(r) for r in speaking]
        drafts = self.drafter.draft(speaking, counts) if speaking else Drafts(())
        by_request = dict(zip((r.id for r in speaking), range(len(speaking)), strict=True))
        if not any(drafts.ids) and not (speaking and isinstance(self.drafter, MTPDrafter)):
            self.commit(requests)
            return self.loop.decode(requests)
        groups = dict[int, _Group]()
        size = 1 + max(len(ids) for ids in drafts.ids)
        for request in requests:
            at = by_request.get(request.id)
            ids = () if at is None else drafts.ids[at]
            tokens = size if self._room(request) >= size else 1 + len(ids)
            if self.device.type == "cuda":
                # one shape, so that few graphs are recorded; rows beyond the pages go to nobody's
                tokens = self.speculation.num_tokens + 1
            group = groups.get(tokens)
            if group is None:
                group = groups[tokens] = _Group([], [], None if drafts.q is None else [], tokens)
            group.requests.append(request)
            group.drafts.append(ids)
            if group.q is not None:
                assert drafts.q is not None
                group.q.append(torch.empty(0) if at is None else drafts.q[at])
        picks = dict[int, list[Pick]]()
        for group in groups.values():
            picks |= self._verify(group)
        ordered = [picks[request.id] for request in requests]
        return Launched.of(requests, lambda: ordered)

    def _recorded(self, requests: Sequence[Request]) -> DraftStep | None:
        """A step that needs the host only at its ends, where these requests allow it."""
        steps = self.loop.runner.steps
        if steps is None or not isinstance(self.drafter, MTPDrafter):
            return None
        has_filters = False
        for request in requests:
            p = request.params
            has_filters |= p.has_filters and p.temperature > 0
            is_forced = request.span is not None and request.span.forced
            if request.drafting is None or request.is_bound or is_forced:
                return None
        size = steps.sizes[bisect_left(steps.sizes, len(requests))]
        if not fits(size, steps, self.speculation):
            return None
        key = size, has_filters
        if key not in self.steps:
            self.steps[key] = DraftStep(size, steps, self.speculation, has_filters=has_filters)
        return self.steps[key]

    def _run_recorded(self, step: DraftStep, requests: Sequence[Request]) -> list[list[Pick]]:
        left = [r.max_tokens - len(r.ids) - 1 for r in requests]
        counts = [
            min(self.speculation.num_tokens, n, self._room(r) - 1)
            for n, r in zip(left, requests, strict=True)
        ]
        ordered = list[list[Pick]]()
        for request, drafted, verdict in zip(
            requests, counts, step.run(requests, counts), strict=True
        ):
            self._note(request, drafted, verdict.kept)
            count = _before_forced(request, verdict.ids[: verdict.kept + 1])
            if count <= verdict.kept:
                assert request.lease is not None
                self.accepted[request.lease.slot] = count
            request.num_cached += count
            ordered.append([Pick(verdict.ids[k], verdict.logprobs[k]) for k in range(count)])
        return ordered

    def _note(self, request: Request, drafted: int, kept: int) -> None:
        self.tally.add(drafted, kept)
        assert request.drafting is not None
        request.drafting.tally.add(drafted, kept)

    def commit(self, requests: Sequence[Request]) -> None:
        """Settle the states of requests whose last forward checked drafts."""
        slots = [r.lease.slot for r in requests if r.lease is not None]
        rows = torch.tensor(slots, device=self.device)
        accepted_S = self.accepted[rows, 0]
        open_S = accepted_S > 0
        if not bool(open_S.any()):
            return
        rows, accepted_S = rows[open_S], accepted_S[open_S]
        count = len(rows)
        view = self.pool.store.view(rows.tolist(), [()] * count, [1] * count)
        view.accepted_S = accepted_S
        for mixer in self.mixers:
            mixer.commit(view)
        self.accepted[rows] = 0

    @torch.inference_mode()
    def conclude(self, request: Request) -> bool:
        """Settle the states of a request that has ended, up to the token before its last one."""
        assert request.lease is not None
        if isinstance(self.drafter, MTPDrafter) and request.drafting is None:
            return False  # the head knows nothing of its tokens
        slot = request.lease.slot
        count = int(self.accepted[slot, 0])
        if count:
            # tokens after the one that ended it do not count
            beyond = request.num_cached + 1 - request.num_tokens
            request.num_cached -= beyond
            count -= beyond
            self.accepted[slot] = count
            if isinstance(self.drafter, MTPDrafter):
                self.drafter.conclude(request, count)
            self.commit([request])
        return True

    def _most_drafts(self, request: Request) -> int:
        """Drafts of which every one might be kept, with another token behind them."""
        if request.is_shaped or (request.span is not None and request.span.forced):
            return 0
        left = request.max_tokens - len(request.ids)
        return min(self.speculation.num_tokens, left - 1, self._room(request) - 1)

    def _room(self, request: Request) -> int:
        """Tokens that can be run before the request needs more pages or comes to its end."""
        room = request.most_tokens
        if self.pool.has_pages and request.lease is not None:
            room = min(room, len(request.lease.pages) * self.pool.page_tokens)
        return room - request.num_cached

    def _verify(self, group: _Group) -> dict[int, list[Pick]]:
        requests = group.requests
        hidden_BTD, logits_BTV = self._forward(group)
        if isinstance(self.drafter, MTPDrafter):
            self.drafter.verified(requests, hidden_BTD)
        picks = dict[int, list[Pick]]()
        plain = [i for i, ids in enumerate(group.drafts) if not ids]
        if plain:
            rows = torch.tensor(plain, device=self.device)
            some = [requests[i] for i in plain]
            for request, pick in zip(
                some, self.loop.sampler.pick(logits_BTV[rows, 0], some), strict=True
            ):
                picks[request.id] = [pick]
        drafted = [i for i, ids in enumerate(group.drafts) if ids]
        if drafted:
            picks |= self._judge(group, logits_BTV, drafted)
        kept = [len(picks[request.id]) for request in requests]
        slots = torch.tensor([r.lease.slot for r in requests if r.lease], device=self.device)
        self.accepted[slots, 0] = torch.tensor(kept, dtype=torch.int32, device=self.device)
        for request, count in zip(requests, kept, strict=True):
            request.num_cached += count
        return picks

    def _forward(self, group: _Group) -> tuple[Tensor, Tensor]:
        """Trunk outputs [B, T, D] and logits [B, T, V] over the newest token, the drafts, and filling
        where others have more.
        """
        requests, size = group.requests, group.tokens
        rows = list[list[int]]()
        for request, ids in zip(requests, group.drafts, strict=True):
            newest = request.uncached(1)[0]
            rows.append([newest, *ids, *[newest] * (size - 1 - len(ids))])
        steps = self.loop.runner.steps
        if steps is not None:
            return steps.check(requests, rows, self.accepted)
        positions, pages, slots = list[int](), list[tuple[int, ...]](), list[int]()
        for request in requests:
            assert request.lease is not None
            positions += range(request.num_cached, request.num_cached + size)
            slots.append(request.lease.slot)
            pages.append(request.lease.pages)
        view = self.pool.store.view(slots, pages, [r.num_cached for r in requests])
        view.accepted_S = self.accepted[torch.tensor(slots, device=self.device), 0]
        context = Context(
            lengths=(size,) * len(requests),
            positions_T=torch.tensor(positions, device=self.device),
            state=view,
        )
        routes = self.loop.runner.routes
        if routes is not None:
            context.replay = routes.run(size * len(requests))
        tokens_T = torch.tensor(rows, device=self.device).flatten()
        hidden_TD = self.model.hidden(tokens_T, context).hidden_TD
        logits_TV = self.model.logits(hidden_TD)
        return hidden_TD.unflatten(0, (-1, size)), logits_TV.unflatten(0, (-1, size))

    def _judge(self, group: _Group, logits_BTV: Tensor, rows: list[int]) -> dict[int, list[Pick]]:
        """Keep or replace the drafts of some rows of a group."""
        requests = [group.requests[i] for i in rows]
        drafts = [group.drafts[i] for i in rows]
        if len(rows) < len(group.requests):
            logits_BTV = logits_BTV[torch.tensor(rows, device=self.device)]
        kept, ids, logprobs = self._reject(
            requests,
            drafts,
            None if group.q is None else [group.q[i] for i in rows],
            logits_BTV,
        )
        picks = dict[int, list[Pick]]()
        for row, request in enumerate(requests):
            count, drafted = kept[row], len(drafts[row])
            self._note(request, drafted, count)
            count = _before_forced(request, ids[row][: count + 1])
            picks[request.id] = [
                Pick(ids[row][k], logprobs[row][k], self._top(request, logits_BTV[row, k]))
                for k in range(count)
            ]
        return picks

    def _reject(
        self,
        requests: Sequence[Request],
        drafts: Sequence[Sequence[int]],
        q: Sequence[Tensor] | None,
        logits_BTV: Tensor,
    ) -> tuple[list[int], list[list[int]], list[list[float]]]:
        """Kept drafts, ids and log probabilities of each request."""
        B, T, V = logits_BTV.shape
        forced = self.speculation.forced_acceptance
        drafts_BK = torch.zeros(B, T - 1, dtype=torch.long)
        for row, part in enumerate(drafts):
            drafts_BK[row, : len(part)] = torch.tensor(part)
        drafts_BK = drafts_BK.to(self.device)
        counts_B = torch.tensor([len(part) for part in drafts], device=self.device)
        settings = Settings.of([r.params for r in requests for _ in range(T)], self.device)
        if settings.is_greedy and forced is None:
            flat_ids, flat_logprobs = greedy(logits_BTV.flatten(0, 1))
            ids_BT, logprobs_BT = flat_ids.view(B, T), flat_logprobs.view(B, T)
            is_same = ids_BT[:, :-1] == drafts_BK
            is_same &= torch.arange(T - 1, device=self.device) < counts_B[:, None]
            kept_B = is_same.long().cumprod(1).sum(1)
            return kept_B.tolist(), ids_BT.tolist(), logprobs_BT.tolist()
        q_BKV = None
        if q is not None:
            q_BKV = logits_BTV.new_zeros(B, T - 1, V)
            for row, part in enumerate(q):
                q_BKV[row, : len(part)] = part
        filtered = filter_logits(logits_BTV.flatten(0, 1), *settings.tensors).view(B, T, V)
        kept_B, ids_BT, logprobs_BT = reject(
            filtered,
            drafts_BK,
            counts_B,
            q_BKV,
            seed_tensor([r.seed for r in requests], self.device),
            torch.tensor([len(r.ids) for r in requests], device=self.device),
            forced_acceptance=forced,
        )
        is_raw = [r.params.temperature == 0 or r.params.raw_logprobs for r in requests]
        if any(is_raw):
            raw = torch.tensor(is_raw, device=self.device)
            plain_BT = logits_BTV[raw].log_softmax(-1).gather(2, ids_BT[raw][..., None])[..., 0]
            logprobs_BT[raw] = plain_BT
        return kept_B.tolist(), ids_BT.tolist(), logprobs_BT.tolist()

    @staticmethod
    def _top(request: Request, logits_V: Tensor) -> Mapping[int, float] | None:
        params = request.params
        if params.logprobs == 0:
            return None
        # without temperature they are those of the model itself
        return top_logprobs(
            logits_V, replace(params, temperature=0) if params.raw_logprobs else params
        )


def _before_forced(request: Request, ids: Sequence[int]) -> int:
    """How many of these tokens come before one that a thinking budget forces."""
    if request.span is None:
        return len(ids)
    span = copy.copy(request.span)
    span.forced = deque(span.forced)
    text = list(request.ids)
    for count, token_id in enumerate(ids, 1):
        text.append(token_id)
        span.advance(text)
        if span.forced:
            return count
    return len(ids)
