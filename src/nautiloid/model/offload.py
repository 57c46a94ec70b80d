"""Saved activations in pinned host memory, fetched one layer ahead of the backward.

Copies out and in run on their own streams beside the computation. The order between streams is set by
events alone: a tensor's memory is free for new use as soon as the computing stream has been told to
wait for its copy, so it does not matter how far the host runs ahead.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class _Far:
    """One tensor on the host and, while the backward is near, on the device again."""

    def __init__(self, layer: _Layer, tensor: Tensor):
        self.layer = layer
        # the tensor itself while its layer is held: the last layer never travels back
        self.near: Tensor | None = tensor
        self.host = torch.empty_like(tensor, device="cpu", pin_memory=True)
        self.users = 0

    def take(self) -> Tensor:
        """The tensor on the device; its layer and the one below it are under way from now on."""
        self.layer.arrive()
        if self.layer.below is not None:
            self.layer.below.fetch()
        assert self.near is not None
        near = self.near
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
        self.left = torch.cuda.Event()
        self.arrived: torch.cuda.Event | None = None
        self.is_held = True

    def send(self, far: _Far, tensor: Tensor) -> None:
        """Start the copy to the host."""
        self.outgoing.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.outgoing):
            far.host.copy_(tensor, non_blocking=True)

    def release(self) -> None:
        """Give up the memory on the device; what is computed from here on waits for the copies out."""
        if self.is_held:
            torch.cuda.current_stream().wait_event(self.left)
            for member in self.members.values():
                member.near = None
            self.is_held = False

    def fetch(self) -> None:
        """Start all copies to the device."""
        if self.is_held or self.arrived is not None:
            return
        self.incoming.wait_event(self.left)
        # memory of this stream that the computation has given back may still be in use there
        self.incoming.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.incoming):
            for member in self.members.values():
                member.near = torch.empty_like(member.host, device="cuda", pin_memory=False)
                member.near.copy_(member.host, non_blocking=True)
            self.arrived = torch.cuda.Event()
            self.arrived.record(self.incoming)

    def arrive(self) -> None:
        """Everything is here for what is computed from now on."""
        self.fetch()
        if self.arrived is not None:
            torch.cuda.current_stream().wait_event(self.arrived)


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
        """End the layer; the one before it has had this layer's time to leave."""
        if self.current is not None:
            self.current.left.record(self.current.outgoing)
            if self.last is not None:
                self.last.release()
            self.last, self.current = self.current, None

    def restart(self) -> None:
        """Forget the layers of the forward before."""
        self.last = None

    def pack(self, tensor: Tensor) -> _Far | Tensor:
        """The handle autograd keeps, or the tensor where it is better off here."""
        layer = self.current
        if (
            layer is None
            or not tensor.is_cuda
            or tensor.numel() < self.smallest
            or self.is_parameter(tensor.untyped_storage().data_ptr())
        ):
            return tensor
        # an address names one tensor, for the layer holds what it has seen
        key = (tensor.data_ptr(), tensor.dtype.itemsize, *tensor.shape, *tensor.stride())
        far = layer.members.get(key)
        if far is None:
            far = layer.members[key] = _Far(layer, tensor)
            layer.send(far, tensor)
        far.users += 1
        return far
