"""The rows of a batch as words that the host sends to the device in one copy, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nautiloid.engine.request import Request
from nautiloid.ops.sampling.draw import Target

# int32 words of a row beside its seed; the order is that of the buffer
INTS = ("slot", "past", "token", "drawn", "temperature", "route", "column", "page")
# copies that may be under way in one direction, and one that is being written
COPIES = 4


class Words:
    """Fixed places on the device for what a step has to know of each row, and for what it draws.

    Args:
        size: Rows.
        null_slot: Slot of rows that stand for nothing.

    Attributes:
        host: The words by name, written before `send`: `slot`, `past` tokens cached, newest `token`
            (below 0 where the device alone knows it), `drawn` tokens so far, `temperature`, `seed`,
            `route` for forced experts, and a `page` that goes to a `column` of the slot's row of the
            page table (below 0 for none).
        device: The same on the device.
        target: Where drawn tokens go.
    """

    def __init__(self, size: int, null_slot: int, device: torch.device):
        self.size, self.null_slot = size, null_slot
        self.is_gpu = device.type == "cuda"
        # every row of words starts at a multiple of 16 bytes, whatever the size: one kernel for all
        self.stride = -(-size // 4) * 4
        length = self.stride + self.stride * len(INTS) // 2
        self.master = torch.zeros(length, dtype=torch.long)
        self.near = torch.zeros(length, dtype=torch.long, device=device)
        self.sent = [self._pinned(length, torch.long) for _ in range(COPIES if self.is_gpu else 0)]
        self.host: dict[str, NDArray[Any]] = {
            name: words.numpy() for name, words in self._named(self.master).items()
        }
        self.device = self._named(self.near)
        self.out = torch.zeros(2, self.stride, dtype=torch.int32, device=device)
        self.back = [self._pinned((2, self.stride), torch.int32) for _ in range(COPIES)]
        self.turn = 0
        self.target = Target(self.out[0, :size], self.out[1, :size].view(torch.float32))
        self.fill(())
        self.near.copy_(self.master)

    def _pinned(self, shape: int | tuple[int, int], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, pin_memory=self.is_gpu)

    def _named(self, words: Tensor) -> dict[str, Tensor]:
        size, stride = self.size, self.stride
        ints = words[stride:].view(torch.int32)
        named = {name: ints[i * stride :][:size] for i, name in enumerate(INTS)}
        named["temperature"] = named["temperature"].view(torch.float32)
        named["seed"] = words[:size]
        return named

    def fill(self, requests: Sequence[Request]) -> None:
        """Write the words of these requests; the rows after them stand for nothing."""
        count, host = len(requests), self.host
        host["slot"][count:] = self.null_slot
        host["past"][count:] = 1
        host["token"][count:] = 0
        host["temperature"][count:] = 0
        host["column"][:] = -1
        host["slot"][:count] = [r.lease.slot for r in requests if r.lease]
        host["past"][:count] = [r.num_cached for r in requests]
        host["token"][:count] = [-1 if r.in_flight else r.newest for r in requests]
        host["drawn"][:count] = [len(r.ids) + r.in_flight for r in requests]
        host["temperature"][:count] = [r.params.temperature for r in requests]
        host["seed"][:count] = [r.seed for r in requests]

    def send(self) -> None:
        """Copy the words to the device; the host may write new ones at once."""
        self.turn += 1
        if not self.is_gpu:
            self.near.copy_(self.master)
            return
        pinned = self.sent[self.turn % COPIES]
        pinned.copy_(self.master)
        self.near.copy_(pinned, non_blocking=True)

    def fetch(self) -> Fetched:
        """Start to copy what was drawn to the host."""
        pinned = self.back[self.turn % COPIES]
        pinned.copy_(self.out, non_blocking=self.is_gpu)
        event = None
        if self.is_gpu:
            event = torch.cuda.Event()
            event.record()
        return Fetched(pinned.numpy(), event)


class Fetched:
    """Drawn tokens on their way to the host; to be read before `COPIES` more steps are launched."""

    def __init__(self, words: NDArray[np.int32], event: torch.cuda.Event | None):
        self.words, self.event = words, event

    def read(self, count: int) -> tuple[list[int], list[float]]:
        """Ids and log probabilities of the first rows; waits for the device."""
        if self.event is not None:
            self.event.synchronize()
        return self.words[0, :count].tolist(), self.words[1, :count].view(np.float32).tolist()
