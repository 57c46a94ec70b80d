"""The bytes of a file that may be larger than memory and address space allow."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator

BLOCK_BYTES = 1 << 20


class File:
    """Reads like `bytes` what is asked for: length, slices, search.

    A file that became shorter gives short slices. Workers bound their address space, so large files
    are not mapped.
    """

    def __init__(self, handle: int):
        self._handle = handle
        self._size = os.fstat(handle).st_size
        self._base = 0
        self._block = b""

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start = part.start or 0
        stop = self._size if part.stop is None else min(part.stop, self._size)
        at = start - self._base
        if at < 0 or stop - self._base > len(self._block):
            if stop - start > BLOCK_BYTES // 4:
                return self._read(start, stop)
            self._load(start)
            at = 0
        return self._block[at : max(at, stop - self._base)]

    def find(self, sub: bytes, start: int = 0) -> int:
        """The first place at or behind `start`; -1 where there is none."""
        while start + len(sub) <= self._size:
            at = start - self._base
            if at < 0 or at + len(sub) > len(self._block):
                self._load(start)
                at = 0
                if len(self._block) < len(sub):
                    return -1
            found = self._block.find(sub, at)
            if found >= 0:
                return self._base + found
            start = self._base + len(self._block) - len(sub) + 1
        return -1

    def _load(self, start: int) -> None:
        self._base, self._block = start, self._read(start, min(start + BLOCK_BYTES, self._size))

    def _read(self, start: int, stop: int) -> bytes:
        parts: list[bytes] = []
        while start < stop and (part := os.pread(self._handle, stop - start, start)):
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


Data = bytes | File


@contextlib.contextmanager
def opened(path: str) -> Generator[File]:
    """A file to read from.

    Raises:
        OSError: It cannot be opened; reading may raise it, too.
    """
    with open(path, "rb") as file:
        yield File(file.fileno())


def is_padding(data: Data, offset: int) -> bool:
    """Whether only zeros and line ends follow, as tapes and some writers leave them."""
    zeros = bytes(BLOCK_BYTES)
    for at in range(offset, len(data), BLOCK_BYTES):
        block = data[at : at + BLOCK_BYTES]
        if not zeros.startswith(block) and block.strip(b"\0\r\n"):
            return False
    return True
