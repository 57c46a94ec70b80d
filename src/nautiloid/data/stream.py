"""The endless list of encoded samples that a mixture stands for.

Its whole state is a few integers: which phase, how much each part gave in it, and how far each part
has been read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.core.types import Sample
from nautiloid.data.mixing import Mixture, Part, phase_ends

BLOCK_SAMPLES = 64
BLOCK_CHARS = 1_000_000


class Item(Protocol):
    """What the encoder makes of a sample."""

    @property
    def positions(self) -> int:
        """Tokens it takes in a row."""
        ...


ItemT = TypeVar("ItemT", bound=Item)
Encode = Callable[[Sequence[Sample]], Sequence[ItemT | None]]


class Position(NamedTuple):
    """How far a part has been read.

    Args:
        epoch: Passes completed.
        start: Record at which the current shuffle window begins.
        taken: Samples taken from that window, in shuffled order.
    """

    epoch: int = 0
    start: int = 0
    taken: int = 0


def shuffled(
    part: Part, mixture: Mixture, seed: Seed, position: Position
) -> Iterator[tuple[Sample, Position]]:
    """The samples of a part from a position on, each with the position after it.

    Every epoch and every window has its own order, drawn from the seed.

    Raises:
        InputError: The source has no samples.
    """
    epoch, start, taken = position
    while part.epochs is None or epoch < part.epochs:
        records = part.source.read(start)
        while window := _window(records, mixture):
            order = list(range(len(window)))
            seed.child(part.label, epoch, start).random().shuffle(order)
            for count in range(taken, len(window)):
                yield window[order[count]], Position(epoch, start, count + 1)
            start, taken = start + len(window), 0
        if start == 0:
            raise InputError(
                f"source {part.label}", "no samples", "check its files, split and filters"
            )
        epoch, start, taken = epoch + 1, 0, 0


def _window(records: Iterator[Sample], mixture: Mixture) -> list[Sample]:
    window: list[Sample] = []
    chars = 0
    for sample in islice(records, mixture.shuffle_samples):
        window.append(sample)
        chars += _chars(sample)
        if chars >= mixture.shuffle_chars:
            break
    return window


def _chars(sample: Sample) -> int:
    if sample.messages is not None:
        return sum(len(m.text) + len(m.reasoning or "") for m in sample.messages)
    return len(sample.text or sample.tokens or ())


class Cursor(Generic[ItemT]):
    """Reads one part ahead in blocks, encodes them, and hands out the items one by one."""

    def __init__(
        self, part: Part, mixture: Mixture, encode: Encode[ItemT], seed: Seed, position: Position
    ):
        self.part = part
        self.position = position
        self._encode = encode
        self._samples = shuffled(part, mixture, seed, position)
        self._ahead: deque[tuple[ItemT | None, Position]] = deque()
        self._useful_epoch = position.epoch

    def next(self) -> ItemT | None:
        """The next item that the encoder did not drop; None when all epochs are over.

        Raises:
            InputError: A whole epoch gave nothing usable.
        """
        while self._ahead or self._fill():
            item, self.position = self._ahead.popleft()
            if item is not None:
                self._useful_epoch = self.position.epoch
                return item
            if self.position.epoch > self._useful_epoch + 1:
                raise InputError(
                    f"source {self.part.label}",
                    "every sample is dropped",
                    "raise loader.row_tokens",
                )
        return None

    def _fill(self) -> bool:
        samples: list[Sample] = []
        positions: list[Position] = []
        chars = 0
        for sample, position in self._samples:
            samples.append(sample)
            positions.append(position)
            chars += _chars(sample)
            if len(samples) == BLOCK_SAMPLES or chars >= BLOCK_CHARS:
                break
        self._ahead.extend(zip(self._encode(samples), positions, strict=True))
        return bool(samples)


class Stream(Generic[ItemT]):
    """Draws encoded samples so that the parts' counts follow their shares.

    Each draw takes the part that is furthest behind its share, so no count ever strays from it by
    more than about the largest sample.

    Args:
        mixture: What to draw.
        encode: Turns samples into items; None for one that is dropped.
        seed: Decides the shuffling.
        total_tokens: Length of the run, for phases that end at a share of it.
        state: Of an earlier stream's `state_dict`.

    Raises:
        InputError: A phase ends at a share of the run and `total_tokens` is not given.
    """

    def __init__(
        self,
        mixture: Mixture,
        encode: Encode[ItemT],
        seed: Seed,
        *,
        total_tokens: int | None = None,
        state: Mapping[str, Any] | None = None,
    ):
        state = state or {"phase": 0, "counts": {}, "over": (), "parts": {}}
        self._phases = mixture.phases
        self._unit = mixture.unit
        self._ends = phase_ends(mixture, total_tokens)
        self._phase: int = state["phase"]
        self._counts: dict[str, int] = dict(state["counts"])
        self._cursors = {
            label: Cursor(part, mixture, encode, seed, Position(*state["parts"].get(label, ())))
            for label, part in mixture.parts.items()
        }
        self._over: set[str] = set(state["over"])

    def draw(self, progress_tokens: int) -> ItemT | None:
        """The next item, or None when every part of the phase is over.

        Args:
            progress_tokens: Tokens of the run so far; decides the phase.
        """
        while progress_tokens >= self._ends[self._phase]:
            self._phase += 1
            self._counts = {}
        while label := self._furthest_behind():
            item = self._cursors[label].next()
            if item is not None:
                count = item.positions if self._unit == "tokens" else 1
                self._counts[label] = self._counts.get(label, 0) + count
                return item
            self._over.add(label)
        return None

    def _furthest_behind(self) -> str | None:
        live = [part for part in self._phases[self._phase].parts if part.label not in self._over]
        if not live:
            return None
        whole = sum(part.weight for part in live)
        # the one to come is counted, so that the first draw goes to the largest share
        total = sum(self._counts.get(part.label, 0) for part in live) + 1
        return max(
            live, key=lambda p: p.weight / whole * total - self._counts.get(p.label, 0)
        ).label

    def state_dict(self) -> dict[str, Any]:
        """The position, as JSON values."""
        parts = {label: list(cursor.position) for label, cursor in self._cursors.items()}
        over = sorted(self._over)
        return {"phase": self._phase, "counts": dict(self._counts), "over": over, "parts": parts}
