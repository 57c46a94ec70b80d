"""A decoding step of a fixed batch on a CPU, recorded once and then run as one parallel region.

Like a CUDA graph: the first step runs as usual while its kernels and their arguments are noted; later
steps put new tokens, positions and page tables into the same memory and run the kernels again,
without Python between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nautiloid.model.context import Context
from nautiloid.model.decoder import Decoder
from nautiloid.model.states import StateStore
from nautiloid.ops import compiled

# requests of a batch up to which every operator has a kernel
MOST_ROWS = 16
# programs kept; each holds the memory of one step
MOST_PROGRAMS = 32


@dataclass(frozen=True)
class Shape:
    """What a program is made for: slots `first` to `first + count`, and room for pages."""

    first: int
    count: int
    pages: int


class Program:
    """One recorded step.

    Args:
        shape: Slots and pages.
        model: Run once, when the first step is recorded.
        store: States of the slots.
    """

    def __init__(self, shape: Shape, model: Decoder, store: StateStore):
        self.shape, self.model, self.store = shape, model, store
        self.tokens = torch.zeros(shape.count, dtype=torch.long)
        self.positions = torch.zeros(shape.count, dtype=torch.long)
        self.table = torch.zeros(shape.count, 1 + shape.pages, dtype=torch.long)
        self.recording: compiled.Recording | None = None
        self.logits = torch.empty(0)

    def run(
        self, tokens: Sequence[int], past: Sequence[int], pages: Sequence[Sequence[int]]
    ) -> Tensor:
        """Logits [S, V] of one step; they hold until the next one."""
        self.tokens.copy_(torch.tensor(tokens))
        self.positions.copy_(torch.tensor(past))
        rows = [
            [n, *p[: self.shape.pages], *[0] * (self.shape.pages - len(p))]
            for n, p in zip(past, pages, strict=True)
        ]
        self.table.copy_(torch.tensor(rows))
        if self.recording is None:
            return self._record(past, pages)
        self.recording.replay()
        return self.logits

    def _record(self, past: Sequence[int], pages: Sequence[Sequence[int]]) -> Tensor:
        slots = range(self.shape.first, self.shape.first + self.shape.count)
        view = self.store.view(slots, pages, past)
        view.table = self.table
        context = Context(lengths=(1,) * self.shape.count, positions_T=self.positions, state=view)
        with compiled.record() as recording:
            self.logits = self.model.logits(self.model.hidden(self.tokens, context).hidden_TD)
        self.recording = recording
        return self.logits


class Programs:
    """The programs of one engine, made as batches come.

    Attributes:
        obstacle: Why steps of this model cannot be recorded; None while they can.
    """

    def __init__(self, model: Decoder, store: StateStore):
        self.model, self.store = model, store
        self.programs: dict[Shape, Program] = {}
        is_possible = model.device.type == "cpu" and model.dtype == torch.float32
        self.obstacle = None if is_possible and compiled.is_available() else "no compiled kernels"

    def find(self, slots: Sequence[int], pages: Sequence[Sequence[int]]) -> Program | None:
        """A program for these requests; None when they have to run one operation at a time."""
        count = len(slots)
        if self.obstacle is not None or count > MOST_ROWS:
            return None
        if list(slots) != list(range(slots[0], slots[0] + count)):
            return None
        most = max(len(p) for p in pages)
        shape = Shape(slots[0], count, 1 << max(0, most - 1).bit_length())
        program = self.programs.get(shape)
        if program is not None and program.recording is not None:
            self.obstacle = program.recording.obstacle
            if self.obstacle is not None:
                self.programs.clear()
                return None
        if program is None:
            if len(self.programs) >= MOST_PROGRAMS:
                self.programs.pop(next(iter(self.programs)))
            program = self.programs[shape] = Program(shape, self.model, self.store)
        return program
