"""An iterator that runs ahead in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
WAIT_S = 0.1


class Prefetch(Generic[T]):
    """Yields what `source` yields, in the same order, made up to `depth` items ahead.

    An exception of the source is raised where its item would have been.
    """

    def __init__(self, source: Iterator[T], depth: int):
        self._queue: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
        self._stop = threading.Event()
        # the thread must not hold this object, or an abandoned one would never end its thread
        self._thread = threading.Thread(
            target=_run,
            args=(source, self._queue, self._stop),
            name="nautiloid-prefetch",
            daemon=True,
        )
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._stop.is_set():
            raise StopIteration
        kind, value = self._queue.get()
        if kind == "item":
            return cast(T, value)
        self._stop.set()
        if kind == "error":
            raise cast(Exception, value)
        raise StopIteration

    def close(self) -> None:
        """Stop the thread and wait until it has left."""
        self._stop.set()
        self._thread.join()

    def __del__(self) -> None:
        self._stop.set()


def _run(source: Iterator[Any], out: queue.Queue[tuple[str, Any]], stop: threading.Event) -> None:
    def put(kind: str, value: Any) -> None:
        while not stop.is_set():
            try:
                return out.put((kind, value), timeout=WAIT_S)
            except queue.Full:
                continue

    try:
        for item in source:
            put("item", item)
            if stop.is_set():
                return
    except Exception as error:  # handed over, raised by the consumer
        put("error", error)
    else:
        put("end", None)
