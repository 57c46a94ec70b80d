"""Decoding states of many sequences: fixed-size slots and pages of tokens.

Suffixes: S sequences of one forward, T their new tokens, L keys of the longest sequence.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from nautiloid.core.errors import InputError
from nautiloid.model.blocks.config import StateSpec
from nautiloid.model.config import ModelConfig

Snapshot = dict[str, dict[str, Tensor]]


def state_specs(config: ModelConfig) -> dict[str, dict[str, StateSpec]]:
    """States by layer key (`layers.3`, `mtp.layers.0`) and name, of the layers that keep any."""
    specs = {f"layers.{i}": block.states() for i, block in enumerate(config.layers())}
    if config.mtp:
        for i, letter in enumerate(config.mtp.pattern * config.mtp.num_nextn_predict_layers):
            specs[f"mtp.layers.{i}"] = config.blocks[letter].states()
    return {layer: states for layer, states in specs.items() if states}


class StateStore:
    """All states the process holds.

    Args:
        config: The model.
        num_slots: Sequences that can be alive at once.
        num_pages: Pages shared by all of them.
        page_tokens: Tokens a page.
        device: Where the tensors live.
        dtype: Dtype of states that follow the model.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        num_slots: int,
        num_pages: int = 0,
        page_tokens: int = 64,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        if num_slots < 1:
            raise InputError("num_slots", num_slots, "use at least 1")
        self.num_slots = num_slots
        self.num_pages = num_pages
        self.page_tokens = page_tokens
        self.specs = state_specs(config)
        self.slots: dict[str, dict[str, Tensor]] = {}
        self.pages: dict[str, dict[str, Tensor]] = {}
        for layer, states in self.specs.items():
            for name, spec in states.items():
                kind = dtype if spec.dtype == "model" else getattr(torch, spec.dtype)
                if dtype == torch.float64:
                    kind = torch.float64
                if spec.kind == "slot":
                    tensor = torch.zeros(num_slots, *spec.shape, dtype=kind, device=device)
                    self.slots.setdefault(layer, {})[name] = tensor
                else:
                    size = (num_pages * page_tokens, *spec.shape)
                    tensor = torch.zeros(size, dtype=kind, device=device)
                    self.pages.setdefault(layer, {})[name] = tensor

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        groups = (*self.slots.values(), *self.pages.values())
        return sum(t.nbytes for group in groups for t in group.values())

    def zero(self, slots: Sequence[int]) -> None:
        """Forget what the slots hold."""
        for group in self.slots.values():
            for tensor in group.values():
                tensor[list(slots)] = 0

    def snapshot(self, slot: int) -> Snapshot:
        """Copy of a slot's fixed-size states."""
        return {
            layer: {name: tensor[slot].clone() for name, tensor in group.items()}
            for layer, group in self.slots.items()
        }

    def restore(self, slot: int, snapshot: Snapshot) -> None:
        """Put a snapshot into a slot."""
        for layer, group in snapshot.items():
            for name, tensor in group.items():
                self.slots[layer][name][slot].copy_(tensor)

    def view(
        self, slots: Sequence[int], pages: Sequence[Sequence[int]], past: Sequence[int]
    ) -> StateView:
        """The states of the sequences of one forward.

        Args:
            slots: Slot of each sequence.
            pages: Pages of each sequence in order, enough for past and new tokens.
            past: Tokens of each sequence that are already cached.
        """
        return StateView(self, tuple(slots), tuple(tuple(p) for p in pages), tuple(past))


def _run_start(values: Sequence[int]) -> int | None:
    """First of consecutive integers, else None."""
    first = values[0]
    return first if list(values) == list(range(first, first + len(values))) else None


class StateView:
    """States of the sequences of one forward, read and written in place."""

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

    @property
    def is_fresh(self) -> bool:
        """Whether no sequence has a past."""
        return not any(self.past)

    @cached_property
    def _slot_index(self) -> Tensor:
        return torch.tensor(self.slots)

    def read(self, layer: str, name: str) -> Tensor:
        """State [S, ...] before this forward; a view of the store when the slots are consecutive."""
        tensor = self.store.slots[layer][name]
        if self.first_slot is not None:
            return tensor[self.first_slot : self.first_slot + len(self.slots)]
        return tensor[self._slot_index.to(tensor.device)]

    def initial(self, layer: str, name: str) -> Tensor | None:
        """Like `read`, with zeros for sequences without a past; None when none has one."""
        if self.is_fresh:
            return None
        state = self.read(layer, name)
        if all(self.past):
            return state
        is_new = torch.tensor([p == 0 for p in self.past], device=state.device)
        return state.masked_fill(is_new.view(-1, *[1] * (state.dim() - 1)), 0)

    def write(self, layer: str, name: str, value: Tensor) -> None:
        """Store the state after this forward; free when `value` is what `read` returned as a view."""
        tensor = self.store.slots[layer][name]
        if self.first_slot is not None:
            target = tensor[self.first_slot : self.first_slot + len(self.slots)]
            if target.data_ptr() != value.data_ptr():
                target.copy_(value)
        else:
            tensor[self._slot_index.to(tensor.device)] = value.to(tensor.dtype)

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

    @property
    def _device(self) -> torch.device:
        return next(iter(next(iter(self.store.pages.values())).values())).device

    @cached_property
    def table(self) -> Tensor:
        """int64 [S, 1 + P]: cached tokens of each sequence, then its pages in order."""
        most = max(len(pages) for pages in self.pages)
        rows = [
            [past, *pages, *[0] * (most - len(pages))]
            for past, pages in zip(self.past, self.pages, strict=True)
        ]
        return torch.tensor(rows, device=self._device)

    @cached_property
    def new_rows(self) -> Tensor:
        """Rows of the page tensors that the new tokens take."""
        size = self.store.page_tokens
        if all(n == 1 for n in self.lengths):
            at = [
                p[past // size] * size + past % size
                for p, past in zip(self.pages, self.past, strict=True)
            ]
            return torch.tensor(at, device=self._device)
        rows = [
            self._positions(s, past, total)
            for s, (past, total) in enumerate(zip(self.past, self.totals, strict=True))
        ]
        return torch.cat(rows).to(self._device)

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
        return padded.to(self._device)

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
        return tensor[self._positions(sequence, 0, total).to(tensor.device)]
