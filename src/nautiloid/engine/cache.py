"""The pool of decoding states: slots, snapshots of slots, and pages of keys and values."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nautiloid.core.errors import InputError
from nautiloid.engine.budget import Sizes, fit
from nautiloid.model.blocks.config import StateSpec
from nautiloid.model.config import ModelConfig
from nautiloid.model.states import StateStore, StateTypes

STATE_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True, slots=True)
class Lease:
    """What one sequence holds; `pages` are in the order of its tokens, and may be shared."""

    slot: int
    pages: tuple[int, ...]


class CachePool:
    """Hands out slots and pages under one cap of bytes.

    A sequence gets pages as it grows. Sequences with the same beginning may share its pages: a page
    goes back when nobody holds it any more. Only whole pages are shared; the one that a prefix
    ends in is copied for every sequence that goes on from there, whose rows beyond the prefix are
    then its own.

    On a CPU slots in use stay the first ones, and page i of a slot is by preference page i of the
    run that belongs to the slot: `StateView` then reads a whole batch in place instead of gathering
    it. Kernels on a GPU follow page tables.

    Args:
        max_batch: Most sequences at a time.
        memory_bytes: Cap on everything; None makes room for `max_batch` sequences of usual length.
        kv_dtype: Of keys and values; None is `dtype`.
        ssm_dtype: Of SSM states; None is what the model names.
        reserved_bytes: Part of the cap that is left to others.
        has_prefixes: Whether to make room for snapshots of slots and for pages that outlive requests.
        snapshots: How many; None takes an eighth of the room beside running sequences.
        extra: States beside those of the model, by layer key and name.

    Raises:
        InputError: Not even one sequence fits under the cap.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        max_batch: int,
        memory_bytes: int | None = None,
        page_tokens: int = 64,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        kv_dtype: torch.dtype | None = None,
        ssm_dtype: torch.dtype | None = None,
        reserved_bytes: int = 0,
        has_prefixes: bool = False,
        snapshots: int | None = None,
        extra: Mapping[str, Mapping[str, StateSpec]] | None = None,
    ):
        if not any(layer.startswith("mtp") for layer in extra or ()):
            config = replace(config, mtp=None)  # draft heads that are not used keep no state
        self.device = torch.device(device)
        is_cpu = self.device.type == "cpu"
        self.types = StateTypes(dtype, kv_dtype, ssm_dtype)
        sizes = Sizes.of(config, page_tokens, self.types, extra, has_tables=not is_cpu)
        budget = fit(
            sizes,
            max_batch=max_batch,
            page_tokens=page_tokens,
            memory_bytes=memory_bytes,
            reserved_bytes=reserved_bytes,
            has_prefixes=has_prefixes,
            snapshots=snapshots,
        )
        self.budget, self.memory_bytes, self.page_tokens = budget, memory_bytes, page_tokens
        self.num_slots, self.num_pages = budget.num_slots, budget.num_pages
        self.num_snapshots = budget.num_snapshots
        self.has_pages, self.has_slots = sizes.page_bytes > 0, sizes.slot_bytes > 0
        self.has_prefixes = has_prefixes and (self.has_pages or self.has_slots)
        self.home = self.num_pages // self.num_slots if is_cpu else 0
        self.store = StateStore(
            config,
            num_slots=self.num_slots,
            # page 0 is never handed out: padded reads land there and must find finite numbers
            num_pages=self.num_pages + 1 if self.has_pages else 0,
            page_tokens=page_tokens,
            device=device,
            dtype=dtype,
            kv_dtype=kv_dtype,
            ssm_dtype=ssm_dtype,
            num_snapshots=self.num_snapshots,
            extra=extra,
        )
        assert memory_bytes is None or budget.nbytes <= memory_bytes
        self.slot_tensors = [t for group in self.store.slots.values() for t in group.values()]
        self.page_tensors = [t for group in self.store.pages.values() for t in group.values()]
        self.free_slots = set(range(self.num_slots))
        self.free_snapshots = list(range(self.num_slots + self.num_snapshots, self.num_slots, -1))
        self.free_pages = set(range(1, self.num_pages + 1))
        self.refs = [0] * (self.num_pages + 1)
        # free pages from the far end, so that the runs of the slots used first stay whole; a page
        # taken out of the middle stays in the heap until it comes up
        self.far = [-page for page in range(self.num_pages, 0, -1)]

    @property
    def most_tokens(self) -> int | None:
        """Longest sequence that can ever fit; None when nothing grows with length."""
        return self.num_pages * self.page_tokens if self.has_pages else None

    def num_pages_for(self, tokens: int) -> int:
        """Pages that hold the keys and values of so many tokens."""
        return -(-tokens // self.page_tokens) if self.has_pages else 0

    def acquire(self, tokens: int, shared: Sequence[int] = (), *, is_zeroed: bool = True) -> Lease:
        """Take the lowest slot and the pages for `tokens` tokens, the first of them shared."""
        slot = min(self.free_slots)
        self.free_slots.remove(slot)
        if is_zeroed:
            self.store.zero([slot])
        self.hold(shared)
        return self.grow(Lease(slot, tuple(shared)), tokens)

    def grow(self, lease: Lease, tokens: int) -> Lease:
        """The lease with pages for so many tokens; the caller has seen that enough are free."""
        have = len(lease.pages)
        count = self.num_pages_for(tokens) - have
        if count <= 0:
            return lease
        first = 1 + lease.slot * self.home
        new: list[int] = []
        for at in range(have, have + count):
            page = first + at
            if at >= self.home or page not in self.free_pages:
                page = self._far_page()
            self.free_pages.remove(page)
            self.refs[page] = 1
            new.append(page)
        return Lease(lease.slot, (*lease.pages, *new))

    def release(self, lease: Lease) -> None:
        """Give the slot back, and the pages that nobody else holds."""
        assert lease.slot not in self.free_slots, lease
        self.free_slots.add(lease.slot)
        self.drop(lease.pages)

    def hold(self, pages: Iterable[int]) -> None:
        """One more holder of each page."""
        for page in pages:
            assert self.refs[page] > 0, page
            self.refs[page] += 1

    def drop(self, pages: Iterable[int]) -> None:
        """One holder less of each page; those without any are free."""
        for page in pages:
            self.refs[page] -= 1
            assert self.refs[page] >= 0, page
            if self.refs[page] == 0:
                self.free_pages.add(page)
                heapq.heappush(self.far, -page)
        if len(self.far) > 4 * self.num_pages + 64:
            self.far = [-page for page in self.free_pages]
            heapq.heapify(self.far)

    def move_down(self, lease: Lease, tokens: int) -> Lease:
        """Move a sequence with so many cached tokens to the lowest free slot."""
        slot = min(self.free_slots)
        assert slot < lease.slot
        self.free_slots.remove(slot)
        self.store.copy(lease.slot, slot)
        self.free_slots.add(lease.slot)
        first = 1 + slot * self.home
        pages = tuple(range(first, first + len(lease.pages)))
        if len(pages) > self.home or not self.free_pages.issuperset(pages):
            return Lease(slot, lease.pages)
        if any(self.refs[page] > 1 for page in lease.pages):
            return Lease(slot, lease.pages)
        used = self.num_pages_for(tokens)
        self.copy_pages(lease.pages[:used], pages[:used])
        self.free_pages.difference_update(pages)
        for page in pages:
            self.refs[page] = 1
        self.drop(lease.pages)
        return Lease(slot, pages)

    def scrub(self, lease: Lease) -> None:
        """Wipe what a sequence that went wrong holds alone: a masked NaN still spoils a sum."""
        # what is padded goes to page 0
        rows = self.rows([0, *(page for page in lease.pages if self.refs[page] == 1)])
        for tensor in self.page_tensors:
            tensor[rows] = 0

    def copy_pages(self, source: Sequence[int], target: Sequence[int]) -> None:
        """Copy whole pages."""
        old, new = self.rows(source), self.rows(target)
        for tensor in self.page_tensors:
            tensor[new] = tensor[old]

    def facts(self) -> dict[str, Any]:
        """Bytes by use, and what is free."""
        return {
            "memory_bytes": self.memory_bytes,
            "used_bytes": self.budget.nbytes,
            "bytes": self.budget.by_use(),
            "slots": self.num_slots,
            "free_slots": len(self.free_slots),
            "snapshots": self.num_snapshots,
            "free_snapshots": len(self.free_snapshots),
            "page_tokens": self.page_tokens,
            "pages": self.num_pages,
            "free_pages": len(self.free_pages),
        }

    def _far_page(self) -> int:
        while True:
            page = -heapq.heappop(self.far)
            if page in self.free_pages:
                return page

    def rows(self, pages: Sequence[int]) -> Tensor:
        """Rows of the page tensors that belong to pages, in order."""
        starts = torch.tensor(pages, dtype=torch.long)[:, None] * self.page_tokens
        return (starts + torch.arange(self.page_tokens)).flatten().to(self.device)


def state_dtype(field: str, value: torch.dtype | str | None) -> torch.dtype | None:
    """A dtype of states by name or as it is.

    Raises:
        InputError: States cannot have it.
    """
    if value is None:
        return None
    dtype = STATE_DTYPES.get(str(value).removeprefix("torch."))
    if dtype is None:
        raise InputError(field, str(value), f"use one of {', '.join(STATE_DTYPES)}")
    return dtype
