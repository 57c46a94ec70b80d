"""Who drafts: copies of the text itself, or the multi-token prediction head of the model.

The head's keys and values of token r are made of its embedding and the trunk's output before it, and lie
in row r of the request's pages: they depend on no later token, so pages of a shared beginning can be
shared, and there are none for the first token. Rows below the cached tokens are whole whenever the
request is not being run.

Suffixes: B requests, K drafts, T tokens of all requests, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from nautiloid.engine.cache import CachePool
from nautiloid.engine.ngrams import Ngrams
from nautiloid.engine.request import Request
from nautiloid.engine.routes import UniformRoutes
from nautiloid.engine.sampler import Settings
from nautiloid.engine.speculation import Speculation
from nautiloid.model.blocks.moe.block import MoE
from nautiloid.model.context import Context
from nautiloid.model.decoder import Decoder
from nautiloid.model.mtp import MTP
from nautiloid.ops.sampling import filter_logits
from nautiloid.ops.sampling.counters import seed_tensor
from nautiloid.ops.sampling.rejection import draw_drafts


@dataclass(frozen=True)
class Drafts:
    """Drafts of one step.

    Args:
        ids: Of each request, as many as it may have or fewer.
        q: Distribution [K, V] that those of each request were drawn from; None when they are not random.
    """

    ids: Sequence[Sequence[int]]
    q: Sequence[Tensor] | None = None


class Drafter(Protocol):
    """Guesses the tokens after the newest one."""

    def draft(self, requests: Sequence[Request], counts: Sequence[int]) -> Drafts:
        """At most so many tokens for each request whose newest token is not cached yet."""
        ...


class NgramDrafter:
    """Looks the end of each text up in the text before it."""

    def __init__(self, speculation: Speculation):
        self.sizes = speculation.ngram_tokens

    def draft(self, requests: Sequence[Request], counts: Sequence[int]) -> Drafts:
        """See `Drafter`."""
        ids = list[Sequence[int]]()
        for request, count in zip(requests, counts, strict=True):
            assert request.drafting is not None
            index = request.drafting.ngrams
            if index is None:
                index = request.drafting.ngrams = Ngrams(self.sizes)
                index.extend(request.prompt_ids)
            index.extend(request.ids[len(index.ids) - len(request.prompt_ids) :])
            ids.append(index.draft(count) if count else ())
        return Drafts(ids)


@dataclass
class MTPDrafter:
    """Runs the MTP head, first over tokens that were cached since its last turn, then over its own drafts."""

    model: Decoder
    pool: CachePool
    device: torch.device
    routes: UniformRoutes | None = None
    slots: dict[str, Tensor] = field(init=False)
    num_trunk_experts: int = field(init=False)

    def __post_init__(self) -> None:
        self.num_trunk_experts = sum(isinstance(x.mixer, MoE) for x in self.model.layers)
        self.slots = {
            "hidden": self.pool.store.slots["mtp"]["hidden"],
            "accepted": self.pool.store.slots["verify"]["accepted"],
        }

    def prefilled(
        self, requests: Sequence[Request], lengths: Sequence[int], hidden_TD: Tensor
    ) -> None:
        """Fill the rows of tokens that the trunk has just run over; its outputs are `hidden_TD`."""
        starts = [r.num_cached - n for r, n in zip(requests, lengths, strict=True)]
        slots = torch.tensor([_slot(r) for r in requests], device=self.device)
        ends = torch.tensor(lengths).cumsum(0)
        last = (ends - 1).to(self.device)
        first = (ends - torch.tensor(lengths)).to(self.device)
        before_TD = hidden_TD.roll(1, 0)
        before_TD[first] = self.slots["hidden"][slots, 0]
        # the first token of a text has nothing before it, and no row
        skips = [int(start == 0) for start in starts]
        if any(skips):
            is_used = torch.ones(len(hidden_TD), dtype=torch.bool)
            is_used[(ends - torch.tensor(lengths))[torch.tensor(skips, dtype=torch.bool)]] = False
            before_TD = before_TD[is_used.to(self.device)]
        runs = [
            _Run(request, start + skip, length - skip)
            for request, start, length, skip in zip(requests, starts, lengths, skips, strict=True)
            if length > skip
        ]
        if runs:
            head, tokens_T, context = self._prepare(runs)
            head.fill(before_TD, tokens_T, self.model.embeddings, context)
        self.slots["hidden"][slots, 0] = hidden_TD[last]

    def verified(self, requests: Sequence[Request], hidden_BTD: Tensor) -> None:
        """Keep the trunk's outputs over the newest token and the drafts."""
        slots = torch.tensor([_slot(r) for r in requests], device=self.device)
        self.slots["hidden"][slots, : hidden_BTD.shape[1]] = hidden_BTD

    def conclude(self, request: Request, waiting: int) -> None:
        """Fill the rows of all cached tokens; so many outputs of the trunk wait for that."""
        slot = _slot(request)
        hidden_TD = self.slots["hidden"][slot]
        if waiting > 1:
            run = _Run(request, request.num_cached + 1 - waiting, waiting - 1)
            head, tokens_T, context = self._prepare([run])
            head.fill(hidden_TD[: waiting - 1], tokens_T, self.model.embeddings, context)
        hidden_TD[0] = hidden_TD[waiting - 1].clone()

    def draft(self, requests: Sequence[Request], counts: Sequence[int]) -> Drafts:
        """See `Drafter`; requests that may have none still get their rows filled."""
        slots = torch.tensor([_slot(r) for r in requests], device=self.device)
        waiting = self.slots["accepted"][slots, 0].clamp(min=1).tolist()
        runs = [
            _Run(request, request.num_cached + 1 - count, count)
            for request, count in zip(requests, waiting, strict=True)
        ]
        if not any(counts):
            hidden = self._waiting_hidden(slots, waiting)
            head, tokens_T, context = self._prepare(runs)
            head.fill(hidden, tokens_T, self.model.embeddings, context)
            return Drafts([()] * len(requests))
        hidden_TD = self._run(runs, self._waiting_hidden(slots, waiting))
        hidden_BD = hidden_TD[torch.tensor(waiting, device=self.device).cumsum(0) - 1]
        settings = Settings.of([r.params for r in requests], self.device)
        seeds_B = seed_tensor([r.seed for r in requests], self.device)
        at_B = torch.tensor([len(r.ids) for r in requests], device=self.device)
        active = [i for i, count in enumerate(counts) if count > 0]
        hidden_BD = _rows(hidden_BD, active, len(requests))
        ids = [list[int]() for _ in requests]
        q = [list[Tensor]() for _ in requests]
        for place in range(max(counts)):
            logits_BV = self.model.logits(hidden_BD)
            if settings.is_greedy:
                drawn, q_BV = logits_BV.argmax(-1), None
            else:
                rows = torch.tensor(active, device=self.device)
                filtered = filter_logits(logits_BV, *(t[rows] for t in settings.tensors))
                drawn, q_BV = draw_drafts(filtered, seeds_B[rows], at_B[rows] + place)
            for row, (i, token_id) in enumerate(zip(active, drawn.tolist(), strict=True)):
                ids[i].append(token_id)
                if q_BV is not None:
                    q[i].append(q_BV[row])
            staying = [row for row, i in enumerate(active) if counts[i] > place + 1]
            if not staying:
                break
            hidden_BD = _rows(hidden_BD, staying, len(active))
            active = [active[row] for row in staying]
            runs = [
                _Run(requests[i], requests[i].num_cached + place + 1, 1, ids[i]) for i in active
            ]
            hidden_BD = self._run(runs, hidden_BD)
        return Drafts(ids, None if settings.is_greedy else [_stacked(x) for x in q])

    def _waiting_hidden(self, slots: Tensor, waiting: Sequence[int]) -> Tensor:
        hidden_BTD = self.slots["hidden"][slots]
        at = torch.arange(hidden_BTD.shape[1], device=self.device)
        return hidden_BTD[at < torch.tensor(waiting, device=self.device)[:, None]]

    def _run(self, runs: Sequence[_Run], hidden_TD: Tensor) -> Tensor:
        head, tokens_T, context = self._prepare(runs)
        return head(hidden_TD, [tokens_T], self.model.embeddings, context)[0]

    def _prepare(self, runs: Sequence[_Run]) -> tuple[MTP, Tensor, Context]:
        head = self.model.mtp
        assert head is not None
        store, past = self.pool.store, [run.start for run in runs]
        pages = [run.request.lease.pages for run in runs if run.request.lease]
        view = store.view([_slot(run.request) for run in runs], pages, past)
        view.first_key = 1
        lengths = [run.count for run in runs]
        positions = [at for run in runs for at in range(run.start, run.start + run.count)]
        context = Context(
            lengths=tuple(lengths),
            positions_T=torch.tensor(positions, device=self.device),
            state=view,
        )
        view.prepare(lengths)
        if self.routes is not None:
            context.replay = self.routes.run(sum(lengths))[self.num_trunk_experts :]
        tokens = [token_id for run in runs for token_id in run.tokens]
        return head, torch.tensor(tokens, device=self.device), context


@dataclass(frozen=True, slots=True)
class _Run:
    """Tokens `start` to `start + count` of a request, its drafts behind the known ones."""

    request: Request
    start: int
    count: int
    drafts: Sequence[int] = ()

    @property
    def tokens(self) -> Sequence[int]:
        request, prompt = self.request, len(self.request.prompt_ids)
        known = prompt + len(request.ids)
        out = list[int]()
        for at in range(self.start, self.start + self.count):
            if at < prompt:
                out.append(request.prompt_ids[at])
            elif at < known:
                out.append(request.ids[at - prompt])
            else:
                out.append(self.drafts[at - known])
        return out


def _slot(request: Request) -> int:
    assert request.lease is not None
    return request.lease.slot


def _rows(x: Tensor, rows: list[int], total: int) -> Tensor:
    return x if len(rows) == total else x[torch.tensor(rows, device=x.device)]


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(parts)) if parts else torch.empty(0)
