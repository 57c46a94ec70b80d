"""Small files, each read at once within the limits."""

from __future__ import annotations

import os

from nautiloid.curate.page import Fault
from nautiloid.curate.reader import Limits
from nautiloid.curate.readers._files import Entry
from nautiloid.curate.warc.http import FREE_BYTES
from nautiloid.curate.warc.members import DamageError, codec


def read_small(entry: Entry, limits: Limits) -> bytes | Fault:
    """The bytes of a small file, `.gz` unpacked within the limits."""
    try:
        # links and devices were refused when the file was listed; it may have changed since
        with open(os.open(entry.path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            content = file.read(limits.page_bytes + 1)
    except OSError as error:
        return Fault(entry.name, "unreadable", error.strerror or str(error))
    if len(content) > limits.page_bytes:
        return Fault(entry.name, "too_large", f"over {limits.page_bytes} bytes")
    if not entry.path.lower().endswith(".gz"):
        return content if content else Fault(entry.name, "empty", "the file has no bytes", 0)
    parts: list[bytes] = []
    size = 0
    try:
        for piece in codec(content).pieces(0):
            size += len(piece.content)
            if size > limits.page_bytes:
                return Fault(entry.name, "too_large", f"over {limits.page_bytes} bytes unpacked")
            if size > max(FREE_BYTES, limits.expansion * len(content)):
                detail = f"over {limits.expansion:g} times its stored size"
                return Fault(entry.name, "bomb", detail)
            parts.append(piece.content)
    except DamageError as damage:
        reason = "corrupt_record" if damage.reason == "corrupt" else damage.reason
        return Fault(entry.name, reason, damage.detail)
    return b"".join(parts)
