"""Numbers of weight files into tensors at the speed of memory: many reads at a time, no second copy.

A CPU tensor of the file's dtype is read into in place. For a GPU, threads read the file into pinned
buffers and each buffer is sent on while the next one fills.
"""

from __future__ import annotations

import math
import os
import queue
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nautiloid.core.errors import InputError
from nautiloid.core.progress import progress
from nautiloid.model.family import Stored
from nautiloid.model.folder import Entry

MOST_THREADS = 12
# a read this large runs at full speed; two buffers a thread keep both directions busy
BUFFER_BYTES = 16 << 20
# less than this is there before a bar could be read
BAR_BYTES = 2 << 30


@dataclass(frozen=True)
class Move:
    """One stretch of a file and where its numbers go.

    Args:
        file: A safetensors file.
        start: First byte.
        dtype: Of the numbers in the file.
        target: As many numbers, one axis, contiguous.
    """

    file: Path
    start: int
    dtype: torch.dtype
    target: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.target.numel() * self.dtype.itemsize

    def split(self, most_bytes: int) -> Iterator[Move]:
        """The same in stretches of at most so many bytes."""
        step, size = most_bytes // self.dtype.itemsize, self.dtype.itemsize
        for first in range(0, self.target.numel(), step):
            part = self.target[first : first + step]
            yield Move(self.file, self.start + first * size, self.dtype, part)


def moves(
    pairs: Iterable[tuple[Entry, Stored]], targets: Mapping[str, Tensor], dtypes: Mapping[str, str]
) -> Iterator[Move]:
    """Where every number of the paired tensors goes.

    Args:
        pairs: Tensors of a folder and their places in the model.
        targets: Parameters and buffers by name, contiguous.
        dtypes: Names of torch dtypes by their names in a file.
    """
    for entry, stored in pairs:
        dtype: torch.dtype = getattr(torch, dtypes[entry.dtype])
        for part in stored.parts:
            target = targets[part.name] if part.index is None else targets[part.name][part.index]
            flat = target.detach().view(-1)
            if part.stop is None:
                yield Move(entry.file, entry.start, dtype, flat)
                continue
            # a cut along a later axis is one run for every index of the axes before it
            runs = math.prod(stored.shape[: part.axis])
            row = math.prod(stored.shape[part.axis + 1 :])
            whole, run = stored.shape[part.axis] * row, (part.stop - part.start) * row
            for i in range(runs):
                start = entry.start + (i * whole + part.start * row) * dtype.itemsize
                yield Move(entry.file, start, dtype, flat[i * run : (i + 1) * run])


def copy_moves(plan: Iterable[Move], *, buffer_bytes: int = BUFFER_BYTES) -> None:
    """Fill all targets; they live on one device.

    Args:
        plan: All moves, in any order.
        buffer_bytes: Of one read.

    Raises:
        InputError: A file ended early or cannot be read.
    """
    pieces = [piece for move in plan for piece in move.split(buffer_bytes)]
    if not pieces:
        return
    pieces.sort(key=lambda piece: (str(piece.file), piece.start))
    batches = _batches(pieces, buffer_bytes)
    device = pieces[0].target.device
    threads = min(MOST_THREADS, os.cpu_count() or 1, len(batches))
    total = sum(piece.nbytes for piece in pieces)
    lanes: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
    made = [_Lane(device, buffer_bytes) for _ in range(2 * threads)]
    for lane in made:
        lanes.put(lane)

    with ExitStack() as stack:
        files = {
            file: stack.enter_context(file.open("rb", buffering=0))
            for file in dict.fromkeys(piece.file for piece in pieces)
        }

        def run(batch: Sequence[Move]) -> int:
            lane = lanes.get()
            try:
                return lane.run(files[batch[0].file].fileno(), batch)
            finally:
                lanes.put(lane)

        pool = stack.enter_context(ThreadPoolExecutor(threads))
        is_shown = total >= BAR_BYTES
        bar = stack.enter_context(progress("weights (MB)", total >> 20)) if is_shown else None
        done = 0
        for count in pool.map(run, batches):
            if bar is not None:
                bar.advance(((done + count) >> 20) - (done >> 20))
            done += count
    for lane in made:
        lane.finish()


def _batches(pieces: Sequence[Move], most_bytes: int) -> list[list[Move]]:
    """Neighbours in a file together, as far as one buffer holds them."""
    batches: list[list[Move]] = []
    stop, room, file = -1, 0, None
    for piece in pieces:
        if piece.file != file or piece.start != stop or piece.nbytes > room:
            batches.append([])
            room = most_bytes
        batches[-1].append(piece)
        file, stop, room = piece.file, piece.start + piece.nbytes, room - piece.nbytes
    return batches


class _Lane:
    """One staging buffer and the stream that empties it."""

    def __init__(self, device: torch.device, size: int):
        self.device = device
        self.size = size
        self.is_gpu = device.type == "cuda"
        self.buffer: Tensor | None = None
        self.stream = torch.cuda.Stream(device) if self.is_gpu else None
        self.sent = torch.cuda.Event() if self.is_gpu else None
        if self.stream is not None:
            # memory of the targets may still be in use by work launched before they were allocated
            self.stream.wait_stream(torch.cuda.current_stream(device))

    def run(self, file: int, batch: Sequence[Move]) -> int:
        """Read neighbouring stretches and send them on; returns their bytes."""
        count = sum(move.nbytes for move in batch)
        if not self.is_gpu and all(move.dtype == move.target.dtype for move in batch):
            for move in batch:
                _read(file, move, move.target.view(torch.uint8))
            return count
        if self.buffer is None:
            self.buffer = torch.empty(self.size, dtype=torch.uint8, pin_memory=self.is_gpu)
        if self.sent is not None:
            self.sent.synchronize()
        staged = self.buffer[:count]
        _read(file, batch[0], staged)
        with nullcontext() if self.stream is None else torch.cuda.stream(self.stream):
            at = 0
            for move in batch:
                bytes_ = staged[at : at + move.nbytes]
                at += move.nbytes
                if move.dtype == move.target.dtype:
                    move.target.view(torch.uint8).copy_(bytes_, non_blocking=True)
                else:
                    # a copy first: a stretch may start anywhere, numbers of a dtype may not
                    fresh = bytes_.to(self.device, non_blocking=True, copy=True)
                    move.target.copy_(fresh.view(move.dtype))
            if self.sent is not None:
                self.sent.record(self.stream)
        return count

    def finish(self) -> None:
        """What this lane sent has arrived."""
        if self.sent is not None:
            self.sent.synchronize()


def _read(file: int, move: Move, out: Tensor) -> None:
    """Fill `out` with the bytes from the start of a stretch on."""
    view, done = out.numpy().data, 0
    while done < len(view):
        try:
            count = os.preadv(file, [view[done:]], move.start + done)
        except OSError as error:
            raise InputError(str(move.file), error.strerror, "copy the file again") from None
        if count == 0:
            raise InputError(
                str(move.file),
                f"truncated at {move.start + done} bytes while it was read",
                "copy the file again",
            )
        done += count
