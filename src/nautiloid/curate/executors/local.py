"""Worker processes of this machine."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nautiloid.core.errors import InputError
from nautiloid.curate.executor import Executor, Job, executor
from nautiloid.curate.guard import Guard, StopError
from nautiloid.curate.reader import Limits

TICK_S = 1.0


@executor("local")
@dataclass(frozen=True, kw_only=True)
class Local(Executor):
    """A pool of processes, each watched by a thread of this one.

    Args:
        processes: Units in work at once; None takes the cores that this process may use.
    """

    processes: int | None = None

    def __post_init__(self) -> None:
        if self.processes is not None and self.processes < 1:
            raise InputError("executor.processes", self.processes, "use at least 1")

    @contextlib.contextmanager
    def pool(self, folder: Path, limits: Limits) -> Generator[LocalPool, None, None]:
        """The processes; they end with the context."""
        pool = LocalPool(folder, limits, self.processes or cores())
        try:
            yield pool
        finally:
            pool.close()


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class LocalPool:
    """See `executor.Pool`."""

    def __init__(self, folder: Path, limits: Limits, processes: int):
        self.folder = folder
        self.limits = limits
        self.workers = processes
        self._guards: list[Guard] = []
        self._wide: Guard | None = None

    def map(
        self, jobs: Sequence[Job], stop: threading.Event
    ) -> Iterator[tuple[int, dict[str, Any]] | None]:
        """One thread a process takes the next job until there is none."""
        todo: queue.SimpleQueue[tuple[int, Job]] = queue.SimpleQueue()
        for entry in enumerate(jobs):
            todo.put(entry)
        done: queue.SimpleQueue[tuple[int, dict[str, Any] | BaseException]] = queue.SimpleQueue()
        leave = _Either(stop)
        while len(self._guards) < min(self.workers, len(jobs)):
            limits = self.limits
            self._guards.append(
                Guard(self.folder, page_s=limits.page_s, memory_bytes=limits.memory_bytes)
            )
        threads = [
            threading.Thread(target=_serve, args=(guard, todo, done, leave), daemon=True)
            for guard in self._guards
        ]
        for thread in threads:
            thread.start()
        try:
            left = len(jobs)
            while left and not stop.is_set():
                try:
                    position, answer = done.get(timeout=TICK_S)
                except queue.Empty:
                    yield None
                    continue
                if isinstance(answer, StopError):
                    break
                if isinstance(answer, BaseException):
                    raise answer
                left -= 1
                yield position, answer
        finally:
            leave.set()
            for thread in threads:
                thread.join()

    def alone(self, job: Job, stop: threading.Event) -> dict[str, Any] | None:
        """One process with all cores; the others are idle but keep what they loaded."""
        if self._wide is None:
            page_s = self.limits.page_s
            self._wide = Guard(self.folder, page_s=page_s, memory_bytes=None, threads=self.workers)
        try:
            return self._wide.run(job, stop)
        except StopError:
            return None

    def counts(self) -> tuple[int, int, int]:
        """Sums over the processes."""
        counts = [guard.heartbeat.counts for guard in self._guards]
        items, kept, dropped = (sum(column) for column in zip((0, 0, 0), *counts, strict=True))
        return items, kept, dropped

    def close(self) -> None:
        """End the processes."""
        for guard in (*self._guards, *([self._wide] if self._wide else [])):
            guard.close()


class _Either(threading.Event):
    """Set on its own or through another event."""

    def __init__(self, other: threading.Event):
        super().__init__()
        self._other = other

    def is_set(self) -> bool:
        return super().is_set() or self._other.is_set()


def _serve(
    guard: Guard,
    todo: queue.SimpleQueue[tuple[int, Job]],
    done: queue.SimpleQueue[tuple[int, dict[str, Any] | BaseException]],
    stop: threading.Event,
) -> None:
    while not stop.is_set():
        try:
            position, job = todo.get_nowait()
        except queue.Empty:
            return
        try:
            done.put((position, guard.run(job, stop)))
        except BaseException as error:
            done.put((position, error))
            return
