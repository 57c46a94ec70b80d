"""Drafts by the MTP head, their check and the verdict in one run, as a CUDA graph on a GPU.

For batches whose requests the device can serve alone: the host sends the words of a step and reads what
became of it.

Suffixes: B rows, K drafts, T = K + 1 tokens of a row, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nautiloid.engine.graphs import Steps
from nautiloid.engine.request import Request
from nautiloid.engine.routes import POOL_TOKENS
from nautiloid.engine.speculation import Speculation
from nautiloid.engine.words import Words
from nautiloid.model.blocks.moe.block import MoE
from nautiloid.model.context import Context
from nautiloid.model.views import FixedView, StateView
from nautiloid.ops.packing import to_device
from nautiloid.ops.sampling.counters import DRAFT, stream_seeds
from nautiloid.ops.sampling.draw import Target, draw
from nautiloid.ops.sampling.reference import filter_logits
from nautiloid.ops.sampling.rejection import draw_drafts, reject

# logits of one step that may be held as float32; more go one operation at a time
MOST_LOGIT_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the drafts of one request: `kept` of them, and the token after them."""

    kept: int
    ids: list[int]
    logprobs: list[float]


class DraftStep:
    """One step of one batch size.

    Args:
        size: Rows.
        steps: Whose model, states and routes it uses.
        speculation: How many drafts.
        has_filters: Whether tokens are excluded before a draw.
    """

    def __init__(
        self, size: int, steps: Steps, speculation: Speculation, *, has_filters: bool = False
    ):
        self.size, self.steps = size, steps
        self.count = speculation.num_tokens + 1
        self.forced_acceptance = speculation.forced_acceptance
        model, device = steps.model, steps.model.device
        assert model.mtp is not None
        self.model, self.head = model, model.mtp
        self.num_trunk_experts = sum(isinstance(x.mixer, MoE) for x in model.layers)
        self.hidden = steps.store.slots["mtp"]["hidden"]
        self.accepted = steps.store.slots["verify"]["accepted"]
        self.words = Words(size, steps.store.null_slot, device)
        # the newest T tokens of each row, and how many drafts it may have
        self.known = torch.zeros(size, self.count + 1, dtype=torch.long, device=device)
        self.places = torch.arange(size * self.count, device=device)
        self.out = torch.zeros(size, 1 + 2 * self.count, dtype=torch.int32, device=device)
        self.back = torch.zeros(self.out.shape, dtype=torch.int32, pin_memory=steps.is_gpu)
        self.newest = torch.zeros(steps.store.num_slots + 1, dtype=torch.int32, device=device)
        # top-k, top-p and min-p of each row
        self.filters: tuple[Tensor, Tensor, Tensor] | None = None
        self.filtered_ids: tuple[int, ...] = ()
        if has_filters:
            none_B = torch.zeros(size, device=device)
            self.filters = none_B.long(), none_B + 1, none_B
        self.graph: torch.cuda.CUDAGraph | None = None

    def run(self, requests: Sequence[Request], counts: Sequence[int]) -> list[Verdict]:
        """Draft at most so many tokens for each request; waits for what is kept."""
        steps, words, T = self.steps, self.words, self.count
        if self.graph is None:
            self.graph = steps.record(lambda: self._forward(()))
        words.fill(requests)
        if steps.routes is not None:
            words.host["route"][:] = steps.routes.next(self.size * T)
        words.send()
        rows = [
            [*_newest(request, T), count] for request, count in zip(requests, counts, strict=True)
        ]
        rows += [[0] * (T + 1)] * (self.size - len(rows))
        self.known.copy_(to_device(torch.tensor(rows), self.known.device, torch.long))
        self._send_filters(requests)
        steps.sync_pages(requests)
        if self.graph is None:
            self._forward(requests)
        else:
            self.graph.replay()
        self.back.copy_(self.out, non_blocking=True)
        if steps.is_gpu:
            torch.cuda.current_stream().synchronize()
        told = self.back[: len(requests)].numpy()
        ids, logprobs = told[:, 1 : T + 1].tolist(), told[:, T + 1 :].view(np.float32).tolist()
        return [
            Verdict(kept, ids[row], logprobs[row]) for row, kept in enumerate(told[:, 0].tolist())
        ]

    def _send_filters(self, requests: Sequence[Request]) -> None:
        ids = tuple(request.id for request in requests)
        if self.filters is None or ids == self.filtered_ids:
            return
        self.filtered_ids, device = ids, self.known.device
        params, spare = [request.params for request in requests], self.size - len(requests)
        columns = (
            torch.tensor([p.top_k for p in params] + [0] * spare),
            torch.tensor([float(p.top_p) for p in params] + [1.0] * spare),
            torch.tensor([float(p.min_p) for p in params] + [0.0] * spare),
        )
        for target, column in zip(self.filters, columns, strict=True):
            target.copy_(to_device(column, device, target.dtype))

    def _forward(self, requests: Sequence[Request]) -> None:
        near, T, B = self.words.device, self.count, self.size
        slot_B, past_B = near["slot"].long(), near["past"].long()
        rows_B, at_T = self.places[:B], self.places[:T]
        known_BT, counts_B = self.known[:, :T], self.known[:, T]
        # first what was accepted last time, as it came out of the trunk
        waiting_B = self.accepted[slot_B, 0].long().clamp(1, T)
        from_BT = ((T - waiting_B)[:, None] + at_T).clamp(max=T - 1)
        start_B = (past_B + 1 - waiting_B).clamp(min=1)
        hidden_TD = self._run_head(
            requests, self.hidden[slot_B].flatten(0, 1), known_BT.gather(1, from_BT), start_B
        )
        hidden_BD = hidden_TD.unflatten(0, (B, T))[rows_B, waiting_B - 1]
        seeds_B = near["seed"]
        draft_seeds_B = stream_seeds(seeds_B, DRAFT)
        drafts, q = list[Tensor](), list[Tensor]()
        for k in range(T - 1):
            logits_BV = self.model.logits(hidden_BD)
            filtered_BV = self._filtered(logits_BV[:, None])[:, 0]
            if self.filters is not None:
                ids_B, q_BV = draw_drafts(filtered_BV, seeds_B, near["drawn"].long() + k)
            else:
                target = Target.empty(B, logits_BV.device)
                draw(
                    logits_BV, near["temperature"], draft_seeds_B, near["drawn"] + k, target,
                    self.newest, near["slot"],
                )  # fmt: skip
                ids_B, q_BV = target.ids_B.long(), filtered_BV.softmax(-1)
            drafts.append(ids_B)
            q.append(q_BV)
            if k < T - 2:
                hidden_BD = self._run_head(requests, hidden_BD, drafts[-1][:, None], past_B + k + 1)
        drafts_BK = torch.stack(drafts, 1)
        tokens_BT = torch.cat([known_BT[:, -1:], drafts_BK], 1)
        positions_BT = past_B[:, None] + at_T
        view = self._view(requests, past_B, T)
        view.accepted_S = self.accepted[slot_B, 0]
        if self.steps.store.seed is not None:
            self.steps.store.seed.add_(1)
        context = self._context(positions_BT, view)
        hidden_TD = self.model.hidden(tokens_BT.flatten(), context).hidden_TD
        logits_BTV = self.model.logits(hidden_TD).unflatten(0, (B, T))
        kept_B, ids_BT, logprobs_BT = reject(
            self._filtered(logits_BTV), drafts_BK, counts_B, torch.stack(q, 1), seeds_B,
            near["drawn"].long(), forced_acceptance=self.forced_acceptance,
        )  # fmt: skip
        # those of greedy requests come from the plain softmax
        plain_BT = logits_BTV.gather(2, ids_BT[..., None])[..., 0] - logits_BTV.logsumexp(-1)
        logprobs_BT = torch.where(near["temperature"][:, None] == 0, plain_BT, logprobs_BT)
        self.hidden.index_copy_(0, slot_B, hidden_TD.unflatten(0, (B, T)))
        self.accepted.index_copy_(0, slot_B, (kept_B + 1)[:, None].int())
        bits_BT = logprobs_BT.float().view(torch.int32)
        self.out.copy_(torch.cat([kept_B[:, None].int(), ids_BT.int(), bits_BT], 1))

    def _run_head(
        self, requests: Sequence[Request], hidden_TD: Tensor, tokens_BT: Tensor, start_B: Tensor
    ) -> Tensor:
        """The MTP head over tokens from `start_B` on."""
        count = tokens_BT.shape[1]
        view = self._view(requests, start_B, count)
        view.first_key = 1
        if count > 1:
            # several tokens with a past: the head has no states that would have to wait
            view.accepted_S = torch.zeros_like(start_B, dtype=torch.int32)
        positions_BT = start_B[:, None] + self.places[:count]
        context = self._context(positions_BT, view)
        view.prepare(context.lengths)
        if context.replay is not None:
            context.replay = context.replay[self.num_trunk_experts :]
        return self.head(hidden_TD, [tokens_BT.flatten()], self.model.embeddings, context)[0]

    def _context(self, positions_BT: Tensor, view: StateView) -> Context:
        B, count = positions_BT.shape
        context = Context(lengths=(count,) * B, positions_T=positions_BT.flatten(), state=view)
        routes = self.steps.routes
        if routes is not None:
            route_T = self.words.device["route"][:1] + self.places[: B * count]
            context.replay = routes.take(route_T % POOL_TOKENS)
        return context

    def _filtered(self, logits_BTV: Tensor) -> Tensor:
        """Logits by temperature, excluded tokens at -inf; greedy rows keep only their best token."""
        if self.filters is not None:
            count = logits_BTV.shape[1]
            settings = (self.words.device["temperature"], *self.filters)
            flat = (x.repeat_interleave(count) for x in settings)
            return filter_logits(logits_BTV.flatten(0, 1), *flat, looks=False).view_as(logits_BTV)
        temperature_B = self.words.device["temperature"][:, None, None]
        best_BT1 = logits_BTV.argmax(-1, keepdim=True)
        only = torch.full_like(logits_BTV, -torch.inf).scatter_(2, best_BT1, 0.0)
        is_greedy = temperature_B == 0
        return torch.where(is_greedy, only, logits_BTV / temperature_B.where(~is_greedy, 1.0))

    def _view(self, requests: Sequence[Request], past_B: Tensor, count: int) -> StateView:
        store = self.steps.store
        if self.steps.is_gpu and self.steps.obstacle is None:
            return FixedView(store, self.words.device["slot"], past_B.int(), count)
        past = past_B.tolist()
        leases = [request.lease for request in requests if request.lease]
        slots = [lease.slot for lease in leases]
        slots += [store.null_slot] * (self.size - len(slots))
        pages = list[tuple[int, ...]]()
        for row, first in enumerate(past):
            own = leases[row].pages if row < len(leases) else ()
            # tokens beyond those that a request may have go to the page of nobody
            most = -(-(first + count) // store.page_tokens) if store.pages else 0
            pages.append((*own, *[0] * (most - len(own))))
        return store.view(slots, pages, past)


def _newest(request: Request, count: int) -> list[int]:
    """The newest tokens, zeros before the first one."""
    ids = request.ids[-count:]
    if len(ids) < count:
        ids = [*request.prompt_ids[len(ids) - count :], *ids]
    return [0] * (count - len(ids)) + ids


def fits(size: int, steps: Steps, speculation: Speculation) -> bool:
    """Whether the logits of such a step can be held at once."""
    rows = size * (speculation.num_tokens + 1)
    return rows * steps.model.config.vocab_size * 4 <= MOST_LOGIT_BYTES
