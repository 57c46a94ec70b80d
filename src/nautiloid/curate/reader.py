"""What a reader is: units of work in a fixed order, and the pages of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from nautiloid.core.config import Open
from nautiloid.core.registry import Registry
from nautiloid.core.types import Document
from nautiloid.curate.page import Fault, Page

Item = Page | Document | Fault


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that hold for every page, whatever it contains.

    Args:
        page_bytes: Larger payloads are dropped with reason `too_large`.
        expansion: Largest quotient of decoded to stored bytes before `bomb`.
        line_chars: Longer lines of a text format are dropped with reason `line_too_long`.
        page_s: Seconds a page may take through all stages before its worker is killed.
        memory_bytes: Address space of a worker process.
    """

    page_bytes: int = 20 << 20
    expansion: float = 200.0
    line_chars: int = 50_000_000
    page_s: float = 20.0
    memory_bytes: int = 4 << 30


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of the input that one worker reads from its start to its end.

    Args:
        name: Unique, sortable, stable over machines: a path relative to the input and a range.
        path: The file.
        start: First byte, row or entry; what it counts is the reader's business.
        stop: First one not read; None is the end.
        size_bytes: For progress and for the order of work.
    """

    name: str
    path: str
    start: int = 0
    stop: int | None = None
    size_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Reader(Open):
    """A source of pages. Subclasses live in `curate/readers/<name>.py` under `@reader("<name>")`.

    Args:
        paths: Files, folders or globs.
        licence: Licence of what carries none of its own.
    """

    registry: ClassVar[Registry] = Registry("reader", "nautiloid.curate.readers")

    paths: tuple[str, ...] = ()
    licence: str | None = None

    def units(self) -> Sequence[Unit]:
        """The units, in an order that depends on the input alone.

        Raises:
            InputError: Nothing is there, or it cannot be read.
        """
        raise TypeError(f"{type(self).__name__} does not define units")

    def read(self, unit: Unit, limits: Limits) -> Iterator[Item]:
        """Pages, documents and faults of a unit, in a fixed order; bad input never raises."""
        raise TypeError(f"{type(self).__name__} does not define read")


reader = Reader.registry
