"""Saved activations in pinned host memory, fetched one layer ahead of the backward.

Copies out and in run on their own streams beside the computation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class _Far:
    """One tensor on the host and, while the backward is near, on the device again."""

    def __init__(self, layer: _Layer, tensor: Tensor):
        self.layer = layer
        self.device = tensor.device
        self.host = torch.empty_like(tensor, device="cpu", pin_memory=True)
        self.near: Tensor | None = None
        self.arrived: torch.cuda.Event | None = None
        self.users = 0

    def fetch(self, stream: torch.cuda.Stream) -> None:
        """Start the copy to the device."""
        if self.near is None:
            with torch.cuda.stream(stream):
                self.near = self.host.to(self.device, non_blocking=True)
                self.arrived = torch.cuda.Event()
                self.arrived.record(stream)

    def take(self) -> Tensor:
        """The tensor on the device; its layer and the one below it are under way from now on."""
        self.layer.fetch()
        if self.layer.below is not None:
            self.layer.below.fetch()
        assert self.near is not None
        assert self.arrived is not None
        current = torch.cuda.current_stream()
        current.wait_event(self.arrived)
        near = self.near
        near.record_stream(current)
        self.users -= 1
        if self.users <= 0:
            self.near = None
        return near


class _Layer:
    """What one layer has saved on the host."""

    def __init__(
        self, below: _Layer | None, incoming: torch.cuda.Stream, outgoing: torch.cuda.Stream
    ):
        self.below = below
        self.incoming, self.outgoing = incoming, outgoing
        self.members: dict[tuple[int, ...], _Far] = {}
        # addresses name tensors only while these are alive
        self.alive: list[Tensor] = []
        self.is_fetched = False

    def fetch(self) -> None:
        """Start all copies to the device, after those to the host have ended."""
        if not self.is_fetched:
            self.is_fetched = True
            self.incoming.wait_stream(self.outgoing)
            for member in self.members.values():
                member.fetch(self.incoming)


class Offload:
    """Sends large saved tensors to the host, a layer at a time.

    Args:
        smallest: Elements of the smallest tensor that goes.
        is_parameter: Whether a storage address belongs to weights, which stay.
    """

    def __init__(self, smallest: int, is_parameter: Callable[[int], bool]):
        self.smallest = smallest
        self.is_parameter = is_parameter
        self.streams: tuple[torch.cuda.Stream, torch.cuda.Stream] | None = None
        self.current: _Layer | None = None
        self.last: _Layer | None = None

    def open(self) -> None:
        """Begin a layer."""
        if torch.cuda.is_available():
            if self.streams is None:
                self.streams = torch.cuda.Stream(), torch.cuda.Stream()
            self.current = _Layer(self.last, *self.streams)

    def close(self) -> None:
        """End the layer: from here on the allocator may reuse what has left."""
        if self.current is not None:
            self.current.alive.clear()
            self.last, self.current = self.current, None

    def restart(self) -> None:
        """Forget the layers of the forward before."""
        self.last = None

    def pack(self, tensor: Tensor) -> _Far | Tensor:
        """The handle autograd keeps, or the tensor where it is better off here."""
        storage = tensor.untyped_storage().data_ptr()
        layer = self.current
        if (
            layer is None
            or not tensor.is_cuda
            or tensor.numel() < self.smallest
            or self.is_parameter(storage)
        ):
            return tensor
        key = (tensor.data_ptr(), tensor.dtype.itemsize, *tensor.shape, *tensor.stride())
        far = layer.members.get(key)
        if far is None:
            far = layer.members[key] = _Far(layer, tensor)
            layer.alive.append(tensor)
            layer.outgoing.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(layer.outgoing):
                far.host.copy_(tensor, non_blocking=True)
            tensor.record_stream(layer.outgoing)
        far.users += 1
        return far
