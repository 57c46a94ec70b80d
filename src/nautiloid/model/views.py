"""The states that one forward sees: those of its sequences, read and written in place.

Suffixes: S sequences of one forward, T their new tokens, L keys of the longest sequence, P pages.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nautiloid.core.errors import InputError
from nautiloid.ops.packing import to_device

if TYPE_CHECKING:
    from nautiloid.model.states import StateStore


def _run_start(values: Sequence[int]) -> int | None:
    """First of consecutive integers, else None."""
    first = values[0]
    return first if list(values) == list(range(first, first + len(values))) else None


class StateView:
    """States of the sequences of one forward, read and written in place.

    Attributes:
        accepted_S: int32, pending tokens of each sequence that count; given when this forward checks
            drafts, whose states are committed by the next one.
        first_key: Rows of pages before it hold no keys.
        is_paged: Whether keys and values lie in pages of a store.
    """

    is_paged = True

    def __init__(
        self,
        store: StateStore,
        slots: tuple[int, ...],
        pages: tuple[tuple[int, ...], ...],
        past: tuple[int, ...],
    ):
        assert len(slots) == len(past) == len(pages), (len(slots), len(pages), len(past))
        self.store = store
        self.slots = slots
        self.pages = pages
        self.past = past
        self.first_slot = _run_start(slots)
        self.accepted_S: Tensor | None = None
        self.first_key = 0

    @property
    def is_verify(self) -> bool:
        """Whether this forward checks drafts."""
        return self.accepted_S is not None

    @property
    def is_fresh(self) -> bool:
        """Whether no sequence has a past."""
        return max(self.past) <= self.first_key

    @property
    def is_step(self) -> bool:
        """Whether every sequence has a past and brings one token."""
        return self._is_single and min(self.past) > 0

    @property
    def seed(self) -> Tensor | None:
        """int64 [1] for states that are rounded at random."""
        return self.store.seed

    @cached_property
    def slot_S(self) -> Tensor:  # noqa: N802
        """int32 slot of each sequence."""
        return to_device(self.slots, self.store.device, torch.int32)

    @cached_property
    def past_S(self) -> Tensor:  # noqa: N802
        """int32 tokens of each sequence that are already cached."""
        return to_device(self.past, self.store.device, torch.int32)

    @cached_property
    def page_table(self) -> Tensor:
        """int32 [slots, P] pages of each slot."""
        table, most = self.store.page_table, max(len(p) for p in self.pages)
        if most:
            rows = torch.zeros(len(self.slots), most, dtype=torch.int32)
            for row, pages in zip(rows, self.pages, strict=True):
                row[: len(pages)] = torch.tensor(pages, dtype=torch.int32)
            table[:, :most].index_copy_(
                0, self._slot_index, to_device(rows, self.store.device, torch.int32)
            )
        return table

    @cached_property
    def _slot_index(self) -> Tensor:
        return to_device(self.slots, self.store.device, torch.long)

    def read(self, layer: str, name: str) -> Tensor:
        """State [S, ...] before this forward; a view of the store when the slots are consecutive."""
        tensor = self.store.slots[layer][name]
        if self.first_slot is not None:
            return tensor[self.first_slot : self.first_slot + len(self.slots)]
        return tensor[self._slot_index]

    @cached_property
    def _is_new(self) -> Tensor:
        return to_device([p == 0 for p in self.past], self.store.device, torch.bool)

    def initial(self, layer: str, name: str) -> Tensor | None:
        """Like `read`, with zeros for sequences without a past; None when none has one."""
        if self.is_fresh:
            return None
        state = self.read(layer, name)
        if all(self.past):
            return state
        return state.masked_fill(self._is_new.view(-1, *[1] * (state.dim() - 1)), 0)

    def write(self, layer: str, name: str, value: Tensor) -> None:
        """Store the state after this forward; free when `value` is what `read` returned as a view."""
        tensor = self.store.slots[layer][name]
        if self.first_slot is not None:
            target = tensor[self.first_slot : self.first_slot + len(self.slots)]
            if target.data_ptr() != value.data_ptr():
                target.copy_(value)
        else:
            tensor[self._slot_index] = value.to(tensor.dtype)

    def _positions(self, sequence: int, start: int, stop: int) -> Tensor:
        """Rows of the page tensors that hold tokens start..stop of a sequence."""
        size, pages = self.store.page_tokens, self.pages[sequence]
        at = torch.arange(start, stop)
        first = _run_start(pages)
        if first is not None:
            return at + first * size
        return torch.tensor(pages)[at // size] * size + at % size

    def prepare(self, lengths: Sequence[int]) -> None:
        """Note how many tokens are new; called once a forward."""
        self.lengths = tuple(lengths)
        self._is_single = max(lengths) == 1
        totals = [p + n for p, n in zip(self.past, lengths, strict=True)]
        self.totals = totals
        self.longest = max(totals)
        if not self.store.pages:
            return
        size = self.store.page_tokens
        for pages, total in zip(self.pages, totals, strict=True):
            if len(pages) * size < total:
                raise InputError(
                    "pages", len(pages), f"{total} tokens need {-(-total // size)} pages"
                )

    @cached_property
    def table(self) -> Tensor:
        """int64 [S, 1 + P]: cached tokens of each sequence, then its pages in order."""
        most = max(len(pages) for pages in self.pages)
        rows = [
            [past, *pages, *[0] * (most - len(pages))]
            for past, pages in zip(self.past, self.pages, strict=True)
        ]
        return to_device(torch.tensor(rows), self.store.device, torch.long)

    @cached_property
    def new_rows(self) -> Tensor:
        """Rows of the page tensors that the new tokens take."""
        size = self.store.page_tokens
        if all(n == 1 for n in self.lengths):
            at = [
                p[past // size] * size + past % size
                for p, past in zip(self.pages, self.past, strict=True)
            ]
            return to_device(at, self.store.device, torch.long)
        rows = [
            self._positions(s, past, total)
            for s, (past, total) in enumerate(zip(self.past, self.totals, strict=True))
        ]
        return to_device(torch.cat(rows), self.store.device, torch.long)

    @cached_property
    def run(self) -> tuple[int, int] | None:
        """First row and stride when every sequence lies in one run of rows, equally far apart."""
        size = self.store.page_tokens
        firsts = [_run_start(p) if p else None for p in self.pages]
        starts = [f * size for f in firsts if f is not None]
        if len(starts) < len(firsts):
            return None
        steps = {b - a for a, b in itertools.pairwise(starts)}
        stride = steps.pop() if len(steps) == 1 else 0
        ends = starts[-1] + self.longest <= self.store.num_pages * size
        is_run = len(starts) == 1 or (not steps and stride > 0 and ends)
        return (starts[0], stride) if is_run else None

    @cached_property
    def rows(self) -> Tensor:
        """Row of each token of each sequence, padded [S, L]."""
        padded = torch.zeros(len(self.totals), self.longest, dtype=torch.long)
        for s, total in enumerate(self.totals):
            padded[s, :total] = self._positions(s, 0, total)
        return to_device(padded, self.store.device, torch.long)

    def pages_of(self, layer: str, name: str) -> Tensor:
        """Rows of all pages of a state."""
        return self.store.pages[layer][name]

    def append(self, layer: str, name: str, values: Tensor) -> None:
        """Store the values [T, ...] of the new tokens."""
        tensor = self.store.pages[layer][name]
        tensor[self.new_rows] = values.to(tensor.dtype)

    def gather(self, layer: str, name: str) -> Tensor:
        """Values of all tokens so far [S, L, ...]; a strided view when the pages lie in runs.

        Rows past the end of a shorter sequence belong to any page: all pages must hold finite
        numbers, since a masked NaN still spoils a sum.
        """
        tensor = self.store.pages[layer][name]
        if self.run is None:
            return tensor[self.rows]
        start, stride = self.run
        row = tensor.stride(0)
        shape = (len(self.slots), self.longest, *tensor.shape[1:])
        strides = (stride * row, *tensor.stride())
        return tensor.as_strided(shape, strides, tensor.storage_offset() + start * row)

    def sequence(self, layer: str, name: str, sequence: int) -> Tensor:
        """Values of all tokens so far of one sequence [L_s, ...]."""
        tensor = self.store.pages[layer][name]
        total = self.totals[sequence]
        first = _run_start(self.pages[sequence])
        if first is not None:
            start = first * self.store.page_tokens
            return tensor[start : start + total]
        return tensor[to_device(self._positions(sequence, 0, total), tensor.device, torch.long)]


class FixedView(StateView):
    """States of a batch whose tensors stay where they are, while slots and lengths in them change.

    What only the host could know is refused: nothing that runs over it may depend on that.

    Args:
        slot_S: int32 slot of each sequence.
        past_S: int32 tokens of each sequence that are already cached, at least one.
        tokens: New tokens of each sequence.
    """

    def __init__(self, store: StateStore, slot_S: Tensor, past_S: Tensor, tokens: int = 1):
        self.store = store
        self.slot_S, self.past_S = slot_S, past_S
        self.page_table = store.page_table
        self.tokens = tokens
        self.accepted_S = None
        self.first_key = 0

    @property
    def is_fresh(self) -> bool:
        """Never."""
        return False

    @property
    def is_step(self) -> bool:
        """Whether every sequence brings one token."""
        return self.tokens == 1

    def prepare(self, lengths: Sequence[int]) -> None:
        """Check the lengths."""
        assert set(lengths) == {self.tokens}, (lengths, self.tokens)

    def __getattr__(self, name: str) -> object:
        raise HostNeededError(f"{name} of a batch is not known in advance")


class HostNeededError(RuntimeError):
    """A block has no variant that leaves a step to the device alone."""
