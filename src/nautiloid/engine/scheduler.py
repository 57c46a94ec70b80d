"""Which requests run: first come, first served, as far as the cache reaches."""

from __future__ import annotations

from collections import deque

from nautiloid.engine.cache import CachePool
from nautiloid.engine.request import Request


class Scheduler:
    """Requests that wait and requests that run.

    A request is admitted when the cache holds all it may need until its last token, so a running
    request is never interrupted for want of memory.

    Args:
        prefill_tokens: Most prompt tokens of one forward; longer prompts go in pieces.
    """

    def __init__(self, pool: CachePool, *, prefill_tokens: int = 2048):
        self.pool = pool
        self.prefill_tokens = prefill_tokens
        self.waiting: deque[Request] = deque()
        self.running: dict[int, Request] = {}

    def __len__(self) -> int:
        return len(self.waiting) + len(self.running)

    def add(self, request: Request) -> None:
        """Put a request at the end of the line."""
        self.waiting.append(request)

    def admit(self) -> None:
        """Move requests from the line into the cache while there is room."""
        while self.waiting and self.pool.fits(self.waiting[0].most_tokens):
            request = self.waiting.popleft()
            request.lease = self.pool.acquire(request.most_tokens)
            request.num_cached = 0
            self.running[request.id] = request

    def compact(self) -> None:
        """Keep the running requests in the first slots, so that a batch is read in place."""
        by_slot = sorted(self.running.values(), key=lambda r: r.lease.slot if r.lease else 0)
        for request in reversed(by_slot):
            assert request.lease is not None
            if request.lease.slot < len(by_slot):
                break
            request.lease = self.pool.move_down(request.lease, request.num_cached)

    def prefills(self) -> list[tuple[Request, int]]:
        """Running requests whose known tokens are not yet cached, and how many to run now."""
        room, plan = self.prefill_tokens, list[tuple[Request, int]]()
        for request in self.running.values():
            missing = request.num_tokens - request.num_cached
            if room > 0 and (missing > 1 or not request.ids):
                plan.append((request, min(missing, room)))
                room -= plan[-1][1]
        return plan

    def decodes(self) -> list[Request]:
        """Running requests of which only the newest token is not yet cached, by slot."""
        ready = [r for r in self.running.values() if r.ids and r.num_tokens - r.num_cached == 1]
        return sorted(ready, key=lambda r: r.lease.slot if r.lease else 0)

    def remove(self, request: Request) -> None:
        """Forget a request and free what it holds."""
        if self.running.pop(request.id, None) is None:
            self.waiting.remove(request)
        self._free(request)

    def preempt_all(self) -> None:
        """Send every running request back to the head of the line; its tokens stay, its states go."""
        for request in reversed(self.running.values()):
            self._free(request)
            self.waiting.appendleft(request)
        self.running.clear()

    def _free(self, request: Request) -> None:
        if request.lease is not None:
            self.pool.release(request.lease)
            request.lease = None
            request.num_cached = 0
