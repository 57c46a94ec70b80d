"""Who holds slots and pages, and who gives way when memory runs out."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

from nautiloid.core.errors import InputError
from nautiloid.engine.cache import CachePool
from nautiloid.engine.prefix import Hit
from nautiloid.engine.queue import Queue
from nautiloid.engine.request import Request
from nautiloid.engine.sharing import MISS, Sharing
from nautiloid.engine.swap import Swapped, swap_in, swap_out

Preemption = Literal["recompute", "swap"]


class Places:
    """Requests that wait and requests that hold a place in the cache.

    A request is admitted when the pages of its known tokens are free, and gets more as it grows. When
    none are left, prefixes that nobody uses go first, then the running request of the lowest
    priority that came last gives way: its tokens stay, its states are computed anew or come back
    from host memory. The running request of the highest priority that came first never gives way,
    so every request ends.

    Args:
        preemption: `recompute` forgets the states of a request that gives way, `swap` moves them to
            host memory.
        snapshot_every_tokens: Also keep snapshots at multiples of this within prompts.

    Attributes:
        settle: Takes what the device has picked and the host has not seen.
        lookahead: Positions beyond the next one that need pages (drafts).
        conclude: Settles the states of a request that has ended well; whether they can be kept.
    """

    def __init__(
        self,
        pool: CachePool,
        *,
        preemption: Preemption = "recompute",
        snapshot_every_tokens: int | None = None,
    ):
        if preemption not in ("recompute", "swap"):
            raise InputError("preemption", preemption, "use recompute or swap")
        self.pool = pool
        self.preemption: Preemption = preemption
        self.sharing = (
            Sharing(pool, every_tokens=snapshot_every_tokens) if pool.has_prefixes else None
        )
        self.waiting = Queue()
        self.running: dict[int, Request] = {}
        self.swapped: dict[int, Swapped] = {}
        self.settle: Callable[[], None] = _nothing
        self.lookahead = 0
        self.conclude: Callable[[Request], bool] = _settled
        self.turns = itertools.count()
        self.num_preempted = 0
        self.is_packed = True

    def compact(self) -> None:
        """Keep the running requests in the first slots, so that a CPU reads a batch in place."""
        if self.is_packed or self.pool.device.type != "cpu":
            return
        self.is_packed = True
        by_slot = sorted(self.running.values(), key=slot_of)
        for request in reversed(by_slot):
            assert request.lease is not None
            if request.lease.slot < len(by_slot):
                break
            request.lease = self.pool.move_down(request.lease, request.num_cached)

    def remove(self, request: Request) -> None:
        """Forget a request and free what it holds; the states of one that ended well are kept."""
        is_running = self.running.pop(request.id, None) is not None
        if not is_running:
            self.waiting.remove(request)
            self.swapped.pop(request.id, None)
        if self.sharing is not None:
            if request.finish_reason == "error":
                self.sharing.spoil(request)
            elif (
                is_running
                and request.finish_reason in ("stop", "length")
                and self.conclude(request)
            ):
                self.sharing.finish(request)
        if request.finish_reason == "error" and request.lease is not None:
            self.pool.scrub(request.lease)
        self._free(request)

    def forget(self) -> None:
        """Drop every state that outlived its request: the weights are about to change."""
        assert not self.running
        self.swapped.clear()
        if self.sharing is not None:
            self.sharing.cache.clear()

    def grow(self) -> None:
        """Give running requests the pages of their next tokens."""
        short: list[tuple[Request, int]] = []
        size, ahead = self.pool.page_tokens, 1 + self.lookahead
        for request in self.running.values() if self.pool.has_pages else ():
            assert request.lease is not None
            held = len(request.lease.pages) * size
            if request.num_cached + ahead > held:
                tokens = min(request.num_cached + ahead, request.most_tokens)
                if tokens > held:
                    short.append((request, tokens))
        for request, tokens in sorted(short, key=lambda item: rank(item[0])):
            if request.id in self.running and self._find_pages(request, tokens):
                assert request.lease is not None
                request.lease = self.pool.grow(request.lease, tokens)

    def _find_pages(self, request: Request, tokens: int) -> bool:
        """Free the pages that a running request needs; False when it has to pause for a step."""
        assert request.lease is not None
        count = self.pool.num_pages_for(tokens) - len(request.lease.pages)
        while len(self.pool.free_pages) < count:
            if self.sharing is not None and self.sharing.cache.evict():
                continue
            if not self._yield_to(request):
                return False
        return request.finish_reason is None

    def _yield_to(self, request: Request) -> bool:
        """Make the last running request give way to this one, which ranks higher."""
        last = max(self.running.values(), key=rank)
        if last.in_flight:
            self.settle()
        if any(r.finish_reason is not None for r in self.running.values()):
            return False  # what they hold is free after this step
        if last is request:
            return False
        self.preempt(last, self.preemption)
        return True

    def make_room(self, request: Request, hit: Hit) -> Hit | None:
        """Free a slot and pages for a waiting request; what it can start from, None if it waits."""
        pool = self.pool
        while True:
            count = pool.num_pages_for(request.num_tokens)
            count -= hit.tokens // pool.page_tokens if pool.has_pages else 0
            # running requests need a page each before long
            spare = min(len(self.running), pool.num_pages // 16)
            if pool.free_slots and len(pool.free_pages) >= count + spare:
                return hit
            if (
                pool.free_slots
                and self.sharing is not None
                and self.sharing.cache.evict(pinned=hit.entry)
            ):
                continue
            if not self.running:
                # alone with the prefix it hit and still no room: go without
                assert self.sharing is not None
                assert hit is not MISS
                hit = MISS
                continue
            lowest = max(r.priority for r in self.running.values())
            if lowest <= request.priority or not self._yield_to(request):
                return None

    def start(self, request: Request, hit: Hit) -> None:
        """Give a request its place, with the states it starts from."""
        pool, entry = self.pool, hit.entry
        if request.turn is None:
            request.turn = next(self.turns)
        self.running[request.id] = request
        swapped = self.swapped.pop(request.id, None)
        if swapped is not None:
            request.lease = pool.acquire(request.num_tokens, is_zeroed=False)
            swap_in(pool, request.lease, swapped)
            request.num_cached = swapped.tokens
            return
        if entry is None:
            request.lease = pool.acquire(request.num_tokens)
        else:
            whole = hit.tokens // pool.page_tokens if pool.has_pages else 0
            lease = pool.acquire(
                request.num_tokens, entry.pages[:whole], is_zeroed=entry.row is None
            )
            if entry.row is not None:
                pool.store.copy(entry.row, lease.slot)
            if pool.num_pages_for(hit.tokens) > whole:
                pool.copy_pages(entry.pages[whole : whole + 1], lease.pages[whole : whole + 1])
            request.lease = lease
        request.num_cached = hit.tokens
        if self.sharing is not None:
            self.sharing.begin(request, hit)

    def preempt(self, request: Request, how: Preemption) -> None:
        """Send a running request back to the line."""
        assert request.lease is not None
        if how == "swap" and request.num_cached > 0:
            swapped = swap_out(self.pool, request.lease, request.num_cached)
            self.swapped[request.id] = swapped
        del self.running[request.id]
        self._free(request)
        self.waiting.push(request)
        self.num_preempted += 1

    def _free(self, request: Request) -> None:
        if self.sharing is not None:
            self.sharing.leave(request)
        if request.lease is not None:
            self.is_packed = False
            self.pool.release(request.lease)
            request.lease = None
            request.num_cached = 0


def _settled(request: Request) -> bool:
    """The default of `conclude`: states are what they should be."""
    return True


def _nothing() -> None:
    """The default of `settle`: nothing is on its way."""


def rank(request: Request) -> tuple[int, int]:
    """Lower ones keep their place longer."""
    assert request.turn is not None
    return request.priority, request.turn


def slot_of(request: Request) -> int:
    """Where a running request is."""
    assert request.lease is not None
    return request.lease.slot
