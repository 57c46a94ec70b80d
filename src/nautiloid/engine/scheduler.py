"""Which requests run, and with what tokens."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from nautiloid.core.errors import InputError
from nautiloid.engine.cache import CachePool
from nautiloid.engine.places import Places, Preemption, rank, slot_of
from nautiloid.engine.prefix import Hit
from nautiloid.engine.request import Request
from nautiloid.engine.sharing import MISS

# waiting requests whose prefixes are looked up before their turn
FORESEEN = 8


class Scheduler(Places):
    """Plans each step.

    Args:
        prefill_tokens: Most tokens of a step. Decodes come first; prompts take the rest in pieces, at
            least a quarter.
        preemption: See `Places`.
        snapshot_every_tokens: See `Places`.

    Attributes:
        steps_prompts: Whether the last token of a prompt may run with the decodes.
        gather: Slots that must be free before more requests start beside running ones: prompts that
            run together read the weights once. More than 1 makes the first tokens of some wait.
    """

    def __init__(
        self,
        pool: CachePool,
        *,
        prefill_tokens: int = 2048,
        preemption: Preemption = "recompute",
        snapshot_every_tokens: int | None = None,
    ):
        super().__init__(pool, preemption=preemption, snapshot_every_tokens=snapshot_every_tokens)
        if prefill_tokens < 1:
            raise InputError("prefill_tokens", prefill_tokens, "use at least 1")
        self.prefill_tokens = prefill_tokens
        self.steps_prompts = False
        self.gather = 1
        self.num_decodes = 0

    def __len__(self) -> int:
        return len(self.waiting) + len(self.running)

    def add(self, request: Request) -> None:
        """Put a request in line."""
        self.waiting.push(request)

    def admit(self) -> None:
        """Give running requests the pages of their next tokens, then start waiting ones."""
        self.grow()
        if not self.waiting:
            return
        is_late = len(self.pool.free_slots) < min(self.gather, len(self.waiting))
        if self.gather > 1 and self.running and is_late:
            return
        backlog = sum(self._missing(request) for request in self.running.values())
        held: list[Request] = []
        while self.waiting and backlog < self.prefill_tokens:
            request = self.waiting.pop()
            hit = self._look(request)
            if hit is None:
                held.append(request)
                continue
            hit = self.make_room(request, hit)
            if hit is None:
                held.append(request)
                break
            self.start(request, hit)
            backlog += self._missing(request)
        for request in reversed(held):
            self.waiting.unpop(request)
        if self.sharing is not None and self.sharing.leaders:
            # those next in line may want the prefills that run now to be cut for them
            for request in itertools.islice(self.waiting, FORESEEN):
                self._look(request)

    def decodes(self) -> list[Request]:
        """Running requests of which only the newest token is not yet cached, by slot."""
        ready = [r for r in self.running.values() if self._is_ready(r)]
        self.num_decodes = len(ready)
        ready.sort(key=slot_of)
        return ready

    def prefills(self) -> list[tuple[Request, int]]:
        """Running requests whose known tokens are not yet cached, and how many to run now."""
        tokens, plan = self.prefill_tokens, list[tuple[Request, int]]()
        if self.num_decodes == len(self.running):
            return plan
        room = max(tokens - self.num_decodes, -(-tokens // 4))
        for request in sorted(filter(self._missing, self.running.values()), key=rank):
            if room <= 0:
                break
            count = min(self._missing(request), room)
            cut = self.sharing.next_cut(request) if self.sharing else None
            if cut is not None:
                count = min(count, cut - request.num_cached)
            plan.append((request, count))
            room -= count
        return plan

    def keep(self, requests: Sequence[Request]) -> None:
        """Take the snapshots that are due after a prefill was launched."""
        if self.sharing is not None:
            for request in requests:
                self.sharing.passed(request)

    def preempt_all(self) -> None:
        """Send every running request back to the line; its tokens stay, its states go."""
        self.settle()
        for request in list(self.running.values()):
            self.preempt(request, "recompute")

    def facts(self) -> dict[str, Any]:
        """Requests and what became of them."""
        return {
            "waiting": len(self.waiting),
            "running": len(self.running),
            "preempted": self.num_preempted,
            "swapped_bytes": sum(s.nbytes for s in self.swapped.values()),
            "prefix": self.sharing.cache.facts() if self.sharing else None,
        }

    def _missing(self, request: Request) -> int:
        """Tokens of a running request that a prefill has to run."""
        if request.in_flight or request.finish_reason is not None:
            return 0
        missing = request.num_tokens - request.num_cached
        is_step = missing == 1 and request.num_cached > 0
        return 0 if is_step and (request.ids or self.steps_prompts) else missing

    def _is_ready(self, request: Request) -> bool:
        cached, picked = request.num_cached, len(request.ids) + request.in_flight
        lease = request.lease
        assert lease is not None
        return (
            request.finish_reason is None
            and len(request.prompt_ids) + picked - cached == 1
            and cached > 0
            and picked < request.max_tokens
            and (picked > 0 or self.steps_prompts)
            and (not self.pool.has_pages or len(lease.pages) * self.pool.page_tokens > cached)
        )

    def _look(self, request: Request) -> Hit | None:
        if request.in_flight:
            return None
        if self.sharing is None or request.id in self.swapped:
            return MISS
        return self.sharing.look(request)
