"""The bytes of a file, in memory or mapped."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Generator

Data = bytes | mmap.mmap
PIECE_BYTES = 1 << 18


@contextlib.contextmanager
def mapped(path: str) -> Generator[Data]:
    """The bytes of a file without reading them at once."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def is_padding(data: Data, offset: int) -> bool:
    """Whether only zeros and line ends follow, as tapes and some writers leave them."""
    for at in range(offset, len(data), PIECE_BYTES):
        if data[at : at + PIECE_BYTES].strip(b"\0\r\n"):
            return False
    return True
