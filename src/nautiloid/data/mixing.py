"""Weighted mixtures of sources with phases, and the stream that draws from them.

The stream's whole state is a few integers: which phase, how much each part gave in it, and how far
each part has been read.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.core.types import Sample
from nautiloid.data.source import Source

BLOCK_SAMPLES = 64
BLOCK_CHARS = 1_000_000


@dataclass(frozen=True)
class Part:
    """A source and its share.

    Args:
        source: Where the samples come from.
        weight: Share relative to the other parts of the phase.
        name: Tells parts apart; the same name in two phases goes on where it stopped. The kind of
            the source when empty.
        epochs: Passes over the source; None repeats without end.
    """

    source: Source
    weight: float = 1.0
    name: str = ""
    epochs: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise InputError("part.weight", self.weight, "use a number above 0")
        if self.epochs is not None and self.epochs < 1:
            raise InputError(
                "part.epochs", self.epochs, "use at least 1, or None to repeat without end"
            )

    @property
    def label(self) -> str:
        """The name, or the kind of the source."""
        return self.name or self.source.kind


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training with constant shares.

    Args:
        parts: What is mixed.
        until: Where the phase ends: up to 1 a share of the run's tokens, above 1 a number of tokens;
            None (only in the last phase) means the end of the run.
    """

    parts: tuple[Part, ...]
    until: float | None = None


@dataclass(frozen=True)
class Mixture:
    """What a run is trained on.

    Args:
        phases: In order; their ends rise.
        unit: What the shares count: tokens, or samples.
        shuffle_samples: Samples of a source that are shuffled together.
        shuffle_chars: Bound on the characters of that many samples, hence on memory.
    """

    phases: tuple[Phase, ...]
    unit: Literal["tokens", "samples"] = "tokens"
    shuffle_samples: int = 2048
    shuffle_chars: int = 64_000_000

    def __post_init__(self) -> None:
        if not self.phases:
            raise InputError("data.phases", None, "name at least one phase")
        if self.shuffle_samples < 1:
            raise InputError(
                "data.shuffle_samples", self.shuffle_samples, "use at least 1 (no shuffling)"
            )
        known: dict[str, Part] = {}
        for i, phase in enumerate(self.phases):
            labels = [part.label for part in phase.parts]
            if not labels:
                raise InputError(f"data.phases.{i}.parts", None, "name at least one source")
            if len(set(labels)) < len(labels):
                twice = next(label for label in labels if labels.count(label) > 1)
                raise InputError(
                    f"data.phases.{i}.parts", twice, "two parts of one name; set part.name"
                )
            for part in phase.parts:
                former = known.setdefault(part.label, part)
                if (former.source, former.epochs) != (part.source, part.epochs):
                    raise InputError(
                        f"data.phases.{i}.parts",
                        part.label,
                        "another source has this name; set part.name",
                    )
            if phase.until is None and i < len(self.phases) - 1:
                raise InputError(
                    f"data.phases.{i}.until", None, "say where it ends; only the last may not"
                )
            if phase.until is not None and not phase.until > 0:
                raise InputError(
                    f"data.phases.{i}.until", phase.until, "use a share or number of tokens above 0"
                )

    @property
    def parts(self) -> dict[str, Part]:
        """All parts by label."""
        return {part.label: part for phase in self.phases for part in phase.parts}

    def fingerprint(self) -> str:
        """Hex digest of everything that decides which samples come in which order, the seed aside."""
        phases = [[p.until, [[part.label, part.weight] for part in p.parts]] for p in self.phases]
        sources = {
            label: [part.epochs, part.source.fingerprint()] for label, part in self.parts.items()
        }
        text = json.dumps([phases, sources, self.unit, self.shuffle_samples, self.shuffle_chars])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def mix(*parts: Source | Part, epochs: int | None = None) -> Mixture:
    """A mixture of one phase; bare sources count equally and make `epochs` passes."""
    whole = [part if isinstance(part, Part) else Part(part, epochs=epochs) for part in parts]
    taken: dict[str, int] = {}
    named: list[Part] = []
    for part in whole:
        number = taken[part.label] = taken.get(part.label, 0) + 1
        label = part.label if number == 1 else f"{part.label}-{number}"
        named.append(Part(part.source, part.weight, label, part.epochs))
    return Mixture((Phase(parts=tuple(named)),))


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


def phase_ends(mixture: Mixture, total_tokens: int | None) -> list[float]:
    """Tokens at which each phase ends; the last one does not end.

    Raises:
        InputError: A share without `total_tokens`, or ends that do not rise.
    """
    ends: list[float] = []
    for i, phase in enumerate(mixture.phases[:-1]):
        assert phase.until is not None
        if phase.until <= 1 and total_tokens is None:
            raise InputError(
                f"data.phases.{i}.until",
                phase.until,
                "give a number of tokens; the run's length is open",
            )
        end = phase.until * (total_tokens or 0) if phase.until <= 1 else phase.until
        if ends and end <= ends[-1]:
            raise InputError(
                f"data.phases.{i}.until", phase.until, "ends before the phase in front of it"
            )
        ends.append(end)
    return [*ends, math.inf]
