"""Figures on their way from the device to the host, without making the host wait for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Readback:
    """Copies scalars and integer vectors to pinned memory behind whatever the device still has to do.

    Args:
        scalars: Tensors of one element by name.
        counts: int64 vectors of one length.
    """

    def __init__(self, scalars: Mapping[str, Tensor], counts: Sequence[Tensor] = ()):
        self.names = tuple(scalars)
        values = torch.stack([value.detach().double().reshape(()) for value in scalars.values()])
        self.values, self.counts = values, torch.stack(list(counts)) if counts else None
        self.event: torch.cuda.Event | None = None
        if values.is_cuda:
            self.values = _pinned(values)
            self.counts = None if self.counts is None else _pinned(self.counts)
            self.event = torch.cuda.Event(enable_timing=True)
            self.event.record()

    @property
    def is_ready(self) -> bool:
        """Whether `wait` would return at once."""
        return self.event is None or self.event.query()

    def wait(self) -> tuple[dict[str, float], tuple[Tensor, ...]]:
        """Scalars by name and the vectors, on the host."""
        if self.event is not None:
            self.event.synchronize()
        counts = () if self.counts is None else tuple(self.counts.unbind())
        return dict(zip(self.names, self.values.tolist(), strict=True)), counts


def _pinned(tensor: Tensor) -> Tensor:
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)
