"""The pool of decoding states: one slot a sequence, and pages of keys and values."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from nautiloid.core.errors import InputError
from nautiloid.model.config import ModelConfig
from nautiloid.model.states import StateStore, state_specs

USUAL_CONTEXT_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Lease:
    """What one sequence holds; `pages` are in the order of its tokens."""

    slot: int
    pages: tuple[int, ...]


class CachePool:
    """Hands out slots and pages; a sequence gets all it may ever need, or waits.

    Slots in use stay the first ones, and a sequence of usual length lies in the run of pages that
    belongs to its slot: `StateView` then reads a whole batch in place instead of gathering it.

    Args:
        max_batch: Most sequences at a time.
        memory_bytes: Cap on all states; None makes room for `max_batch` sequences of usual length.

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
    ):
        config = replace(config, mtp=None)  # draft heads keep no state here
        slot_bytes, page_bytes = _sizes(config, page_tokens, dtype)
        longest = math.ceil(config.max_position_embeddings / page_tokens) if page_bytes else 0
        usual = min(longest, USUAL_CONTEXT_TOKENS // page_tokens)
        self.num_slots, self.num_pages = max_batch, max_batch * usual
        if memory_bytes is not None:
            # page 0 is never handed out: padded reads land there and must find finite numbers
            room = memory_bytes - (page_bytes if longest else 0)
            least = slot_bytes + page_bytes
            if room < least:
                raise InputError(
                    "memory_bytes", memory_bytes, f"use at least {2 * page_bytes + slot_bytes}"
                )
            self.num_slots = max_batch if not least else min(max_batch, room // least)
            if longest:
                room -= self.num_slots * slot_bytes
                self.num_pages = min(room // page_bytes, self.num_slots * longest)
        self.page_tokens = page_tokens
        self.has_pages = longest > 0
        self.home = self.num_pages // self.num_slots
        self.store = StateStore(
            config,
            num_slots=self.num_slots,
            num_pages=self.num_pages + 1 if self.has_pages else 0,
            page_tokens=page_tokens,
            device=device,
            dtype=dtype,
        )
        assert memory_bytes is None or self.store.nbytes <= memory_bytes
        self.free_slots = set(range(self.num_slots))
        self.free_pages = set(range(1, self.num_pages + 1))

    @property
    def most_tokens(self) -> int | None:
        """Longest sequence that can ever fit; None when nothing grows with length."""
        return self.num_pages * self.page_tokens if self.has_pages else None

    def num_pages_for(self, tokens: int) -> int:
        """Pages that hold the keys and values of so many tokens."""
        return -(-tokens // self.page_tokens) if self.has_pages else 0

    def fits(self, tokens: int) -> bool:
        """Whether a sequence of so many tokens can start now."""
        return bool(self.free_slots) and self.num_pages_for(tokens) <= len(self.free_pages)

    def acquire(self, tokens: int) -> Lease:
        """Take a zeroed slot, the lowest one, and the pages for `tokens` tokens."""
        assert self.fits(tokens)
        slot = min(self.free_slots)
        self.free_slots.remove(slot)
        count = self.num_pages_for(tokens)
        pages = self._own(slot, count)
        if pages is None:
            # From the far end, descending: the homes of the slots that are used next stay whole.
            pages = tuple(sorted(self.free_pages, reverse=True)[:count])
        self.free_pages.difference_update(pages)
        self.store.zero([slot])
        return Lease(slot, pages)

    def release(self, lease: Lease) -> None:
        """Give everything back."""
        assert lease.slot not in self.free_slots, lease
        assert self.free_pages.isdisjoint(lease.pages), lease
        self.free_slots.add(lease.slot)
        self.free_pages.update(lease.pages)

    def move_down(self, lease: Lease, tokens: int) -> Lease:
        """Move a sequence with so many cached tokens to the lowest free slot."""
        slot = min(self.free_slots)
        assert slot < lease.slot
        self.free_slots.remove(slot)
        self.store.restore(slot, self.store.snapshot(lease.slot))
        self.free_slots.add(lease.slot)
        pages = self._own(slot, len(lease.pages))
        if pages is None:
            return Lease(slot, lease.pages)
        self._copy_pages(lease.pages, pages, tokens)
        self.free_pages.difference_update(pages)
        self.free_pages.update(lease.pages)
        return Lease(slot, pages)

    def scrub(self, lease: Lease) -> None:
        """Wipe the pages of a sequence that went wrong: a masked NaN still spoils a sum."""
        rows = self._rows(lease.pages)
        for group in self.store.pages.values():
            for tensor in group.values():
                tensor[rows] = 0

    def _own(self, slot: int, count: int) -> tuple[int, ...] | None:
        """The first pages of a slot's own run, if they suffice and are free."""
        first = 1 + slot * self.home
        pages = tuple(range(first, first + count))
        return pages if count <= self.home and self.free_pages.issuperset(pages) else None

    def _copy_pages(self, source: tuple[int, ...], target: tuple[int, ...], tokens: int) -> None:
        used = self.num_pages_for(tokens)
        old, new = self._rows(source[:used]), self._rows(target[:used])
        for group in self.store.pages.values():
            for tensor in group.values():
                tensor[new] = tensor[old]

    def _rows(self, pages: tuple[int, ...]) -> torch.Tensor:
        starts = torch.tensor(pages, dtype=torch.long)[:, None] * self.page_tokens
        return (starts + torch.arange(self.page_tokens)).flatten()


def _sizes(config: ModelConfig, page_tokens: int, dtype: torch.dtype) -> tuple[int, int]:
    """Bytes of one slot and of one page."""
    slot = page = 0
    for states in state_specs(config).values():
        for spec in states.values():
            kind = dtype if spec.dtype == "model" else getattr(torch, spec.dtype)
            if dtype == torch.float64:
                kind = torch.float64
            size = math.prod(spec.shape) * kind.itemsize
            if spec.kind == "slot":
                slot += size
            else:
                page += size * page_tokens
    return slot, page
