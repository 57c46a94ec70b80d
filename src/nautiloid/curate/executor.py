"""What an executor is: a pool of guarded workers that do jobs in any order."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from nautiloid.core.config import Open
from nautiloid.core.registry import Registry
from nautiloid.curate.reader import Limits

Job = Mapping[str, Any]


class Pool(Protocol):
    """Workers that stay for many jobs, so that what stages load is loaded once each."""

    @property
    def workers(self) -> int:
        """How many jobs run at once."""
        ...

    def map(
        self, jobs: Sequence[Job], stop: threading.Event
    ) -> Iterator[tuple[int, dict[str, Any]] | None]:
        """Do the jobs, started in the order given.

        Yields position and answer of each finished job in the order of completion, and None every
        second or so while there is nothing new. Ends early, without the rest, when `stop` is set.

        Raises:
            InputError: A job cannot be done; the others are given up.
        """
        ...

    def alone(self, job: Job, stop: threading.Event) -> dict[str, Any] | None:
        """Do one job that wants a whole machine; None when `stop` was set."""
        ...

    def counts(self) -> tuple[int, int, int]:
        """Items, kept and dropped documents of the jobs in work."""
        ...


@dataclass(frozen=True, kw_only=True)
class Executor(Open):
    """Where the work is done. Subclasses live in `curate/executors/<name>.py` under `@executor("<name>")`.

    Results never depend on it: it may change between two calls that take the same run folder up.
    """

    registry: ClassVar[Registry] = Registry("executor", "nautiloid.curate.executors")

    def pool(self, folder: Path, limits: Limits) -> AbstractContextManager[Pool]:
        """The workers, while the context is open.

        Args:
            folder: The run folder, with recipe and units in it.
            limits: Of a page and of a worker.
        """
        raise TypeError(f"{type(self).__name__} does not define pool")


executor = Executor.registry
