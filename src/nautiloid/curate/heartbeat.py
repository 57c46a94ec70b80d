"""What a worker process is doing, in memory that the process that watches it shares."""

from __future__ import annotations

import mmap
from enum import IntEnum

SIZE_BYTES = 4096
_ID_AT = 128
_MAX_ID_BYTES = SIZE_BYTES - _ID_AT


class Phase(IntEnum):
    """Kinds of work, each with a rule of its own for how long it may take."""

    IDLE = 0
    LOAD = 1
    READ = 2
    PAGE = 3
    BULK = 4


class Heartbeat:
    """Counters of 8 bytes, each written in one store, so that a reader never sees half of one.

    Args:
        handle: File descriptor of a file of at least `SIZE_BYTES`.
    """

    _BEAT, _PHASE, _FIRST, _LAST, _STEP, _ITEMS, _KEPT, _DROPPED, _ID_BYTES, _PATIENCE, _LATE = (
        range(11)
    )

    def __init__(self, handle: int):
        self._memory = mmap.mmap(handle, SIZE_BYTES)
        self._slots = memoryview(self._memory).cast("Q")

    def enter(self, phase: Phase, first: int = 0, last: int | None = None, id: str = "") -> None:
        """Begin a piece of work on the items `first` to `last` of the unit; `id` is for people."""
        slots = self._slots
        slots[self._PHASE] = phase
        slots[self._FIRST] = first
        slots[self._LAST] = first if last is None else last
        slots[self._STEP] = 0
        slots[self._PATIENCE] = 0
        encoded = id.encode("utf-8", "replace")[:_MAX_ID_BYTES]
        slots[self._ID_BYTES] = len(encoded)
        self._memory[_ID_AT : _ID_AT + len(encoded)] = encoded
        slots[self._BEAT] += 1

    def step(self, index: int, patience_s: float = 0.0) -> None:
        """The current items are now at the step `index`, which may wait for something else."""
        self._slots[self._STEP] = index
        self._slots[self._PATIENCE] += round(1000 * patience_s)

    def count(self, *, items: int = 0, kept: int = 0, dropped: int = 0) -> None:
        """Add to the counts of the unit, which progress bars show."""
        self._slots[self._ITEMS] += items
        self._slots[self._KEPT] += kept
        self._slots[self._DROPPED] += dropped

    def reset(self) -> None:
        """Forget the counts of the former unit."""
        for slot in (self._ITEMS, self._KEPT, self._DROPPED):
            self._slots[slot] = 0

    @property
    def beat(self) -> int:
        """Rises with each piece of work."""
        return self._slots[self._BEAT]

    @property
    def phase(self) -> Phase:
        """What is being done."""
        return Phase(self._slots[self._PHASE])

    @property
    def items(self) -> range:
        """Ordinals of the items in work."""
        return range(self._slots[self._FIRST], self._slots[self._LAST] + 1)

    @property
    def at_step(self) -> int:
        """Index of the step that the items are at."""
        return self._slots[self._STEP]

    def call_late(self, beat: int) -> None:
        """Say from outside that the work of this beat has taken too long."""
        self._slots[self._LATE] = beat

    @property
    def is_late(self) -> bool:
        """Whether `call_late` named the work that is being done now."""
        return self._slots[self._LATE] == self._slots[self._BEAT]

    @property
    def patience_s(self) -> float:
        """Seconds that the steps so far may have waited, since the last beat."""
        return self._slots[self._PATIENCE] / 1000

    @property
    def counts(self) -> tuple[int, int, int]:
        """Items begun, documents kept and dropped since `reset`."""
        slots = self._slots
        return slots[self._ITEMS], slots[self._KEPT], slots[self._DROPPED]

    @property
    def id(self) -> str:
        """Of the item in work."""
        size = self._slots[self._ID_BYTES]
        return self._memory[_ID_AT : _ID_AT + size].decode("utf-8", "replace")

    def close(self) -> None:
        """Unmap the memory."""
        self._slots.release()
        self._memory.close()
