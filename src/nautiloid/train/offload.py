"""Masters and moments in pinned host memory, streamed through the update in parts.

Two buffers on the device take turns: while one part is updated, the next comes in and the one before
goes out, each way on its own stream. The bytes that cross: 12 a parameter each way with float32
masters and moments.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nautiloid.ops.adamw import Scalars
from nautiloid.train.flat import FlatAdamW, Group

# elements of one part: 0.8 GB of masters and moments in float32
PART = 1 << 26
_ARRAYS = ("weights_N", "exp_avg_N", "exp_avg_sq_N")


class OffloadedAdamW(FlatAdamW):
    """`FlatAdamW` whose masters and moments live on the host."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.incoming, self.outgoing = torch.cuda.Stream(), torch.cuda.Stream()
        # two places on the device for each array that lives on the host
        self.buffers: dict[tuple[str, torch.dtype], list[Tensor]] = {}

    def _place(self, group: Group) -> Group:
        if group.kind == "masters":
            group.weights_N = _pinned(group.weights_N)
        group.exp_avg_N = _pinned(group.exp_avg_N)
        group.exp_avg_sq_N = _pinned(group.exp_avg_sq_N)
        return group

    def _update(self, group: Group, device_scalars: Tensor, scalars: Scalars) -> None:
        current = torch.cuda.current_stream()
        # what the group before sent out must have left the buffers
        self.incoming.wait_stream(self.outgoing)
        self.incoming.wait_stream(current)
        left: list[torch.cuda.Event] = []
        for number, start in enumerate(range(0, group.grad_N.numel(), PART)):
            part = slice(start, start + PART)
            far = {name: getattr(group, name)[part] for name in _ARRAYS}
            near = {name: self._near(name, tensor, number) for name, tensor in far.items()}
            if number >= 2:
                self.incoming.wait_event(left[number - 2])
            with torch.cuda.stream(self.incoming):
                for name, tensor in far.items():
                    if not tensor.is_cuda:
                        near[name].copy_(tensor, non_blocking=True)
            current.wait_stream(self.incoming)
            self.update(
                near["weights_N"],
                group.grad_N[part],
                near["exp_avg_N"],
                near["exp_avg_sq_N"],
                device_scalars,
                scalars._replace(key=(scalars.key + number) & 0x7FFFFFFF),
                None if group.copy_N is None else group.copy_N[part],
            )
            self.outgoing.wait_stream(current)
            with torch.cuda.stream(self.outgoing):
                for name, tensor in far.items():
                    if not tensor.is_cuda:
                        tensor.copy_(near[name], non_blocking=True)
            left.append(torch.cuda.Event())
            left[-1].record(self.outgoing)
        current.wait_stream(self.outgoing)

    def _near(self, name: str, far: Tensor, number: int) -> Tensor:
        """Where part `number` of an array lies on the device: a buffer, or itself."""
        if far.is_cuda:
            return far
        pair = self.buffers.setdefault((name, far.dtype), [])
        while len(pair) < 2:
            pair.append(torch.empty(PART, dtype=far.dtype, device=self.grad_N.device))
        return pair[number % 2][: far.numel()]


def _pinned(tensor: Tensor) -> Tensor:
    return tensor.to("cpu").pin_memory()
