"""States of a request in host memory while others use its place in the cache."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nautiloid.engine.cache import CachePool, Lease


@dataclass(frozen=True)
class Swapped:
    """A copy of what a sequence held.

    Args:
        tokens: Those whose states it holds.
        slots: Its slot, tensor by tensor of the pool.
        pages: Its pages, tensor by tensor of the pool.
    """

    tokens: int
    slots: tuple[Tensor, ...]
    pages: tuple[Tensor, ...]

    @property
    def nbytes(self) -> int:
        """Host memory."""
        return sum(t.nbytes for t in (*self.slots, *self.pages))


def swap_out(pool: CachePool, lease: Lease, tokens: int) -> Swapped:
    """Copy a slot and the pages of its first tokens to the host."""
    rows = pool.rows(lease.pages[: pool.num_pages_for(tokens)])
    return Swapped(
        tokens,
        tuple(t[lease.slot].to("cpu", copy=True) for t in pool.slot_tensors),
        tuple(t[rows].cpu() for t in pool.page_tensors),
    )


def swap_in(pool: CachePool, lease: Lease, swapped: Swapped) -> None:
    """Copy the states back, into whatever slot and pages the sequence got."""
    rows = pool.rows(lease.pages[: pool.num_pages_for(swapped.tokens)])
    for tensor, kept in zip(pool.slot_tensors, swapped.slots, strict=True):
        tensor[lease.slot].copy_(kept)
    for tensor, kept in zip(pool.page_tensors, swapped.pages, strict=True):
        tensor[rows] = kept.to(tensor.device)
