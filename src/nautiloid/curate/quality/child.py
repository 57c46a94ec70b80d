"""A model in a process of its own: JSON lines over pipes, time limits, restarts.

The torch side is `nautiloid.synth.annotate`; this side never imports it. One request is in flight
at a time. A child that dies or stays silent is replaced and asked again, a few times; then the run
stops with what the child wrote last, and can be taken up again.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast

from nautiloid.core.errors import InputError

_CHUNK = 1 << 16
_MAX_ANSWER_BYTES = 1 << 30


class _LostError(Exception):
    """The child died or did not answer in time."""


@dataclass(frozen=True, slots=True)
class Command:
    """How a child is started and how long it may take.

    Args:
        name: What messages call it: the field and the folder.
        arguments: Of `python -m nautiloid.synth.annotate`.
        start_s: Seconds until the model must be loaded.
        answer_s: Seconds for one batch.
        restarts: Children started after the first one, over its whole life.
    """

    name: str
    arguments: tuple[str, ...]
    start_s: float = 300.0
    answer_s: float = 120.0
    restarts: int = 2


class Child:
    """A running model. Use it as a context, so that no process stays behind."""

    def __init__(self, command: Command):
        self.command = command
        self.facts: dict[str, Any] = {}
        self._starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in __exit__)
        self._buffer = bytearray()

    def __enter__(self) -> Child:
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        self._errors.close()

    def ask(self, texts: Sequence[str]) -> list[Any]:
        """The answers to a batch, one a text.

        Raises:
            InputError: The child died or hung too often, or refused the batch.
        """
        while True:
            try:
                if self._process is None:
                    self._start()
                answer = self._exchange({"texts": list(texts)}, self.command.answer_s)
            except _LostError as lost:
                self._stop()
                if self._starts > self.command.restarts:
                    raise InputError(self.command.name, str(lost), self._last_words()) from None
                continue
            results = answer.get("results")
            if isinstance(results, list) and len(cast(list[Any], results)) == len(texts):
                return cast(list[Any], results)
            problem = str(answer.get("error", "an answer of another length"))
            raise InputError(self.command.name, problem, "see the log of the run")

    def _start(self) -> None:
        self._starts += 1
        self._buffer.clear()
        command = [sys.executable, "-m", "nautiloid.synth.annotate", *self.command.arguments]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        # The child must find the package as this process did, installed or from a checkout.
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
        try:
            ready = self._exchange(None, self.command.start_s)
        except _LostError as lost:
            self._stop()
            raise InputError(self.command.name, str(lost), self._last_words()) from None
        if "error" in ready:
            self._stop()
            raise InputError(self.command.name, str(ready["error"]), str(ready.get("remedy", "")))
        self.facts = ready

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()
        try:
            process.wait(timeout=0.5)  # a closed stdin ends it
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _last_words(self) -> str:
        """The end of what the child wrote to its standard error."""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(size - 2_000, 0))
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return f"it said: {lines[-1][-300:]}" if lines else "it said nothing"

    def _exchange(self, request: dict[str, Any] | None, limit_s: float) -> dict[str, Any]:
        """Send a request, if any, and read one line."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        todo = memoryview(b"" if request is None else json.dumps(request).encode() + b"\n")
        deadline = time.monotonic() + limit_s
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if todo:
                selector.register(process.stdin, selectors.EVENT_WRITE)
            while True:
                line = self._line()
                if line is not None:
                    return line
                left = deadline - time.monotonic()
                if left <= 0:
                    raise _LostError(f"no answer in {limit_s:g} s")
                for key, _ in selector.select(left):
                    if key.fileobj is process.stdin:
                        with self._alive():
                            todo = todo[os.write(key.fd, todo[:_CHUNK]) :]
                        if not todo:
                            selector.unregister(process.stdin)
                    else:
                        data = os.read(key.fd, _CHUNK)
                        if not data:
                            raise _LostError(f"the child ended with status {self._status()}")
                        self._buffer += data
                if len(self._buffer) > _MAX_ANSWER_BYTES:
                    raise _LostError("an answer without end")

    @contextlib.contextmanager
    def _alive(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise _LostError(f"the child ended with status {self._status()}") from None

    def _status(self) -> int | None:
        assert self._process is not None
        try:
            return self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return None

    def _line(self) -> dict[str, Any] | None:
        end = self._buffer.find(b"\n")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            data: Any = json.loads(line)
        except ValueError:
            raise _LostError(f"rubbish instead of an answer: {line[:80]!r}") from None
        if not isinstance(data, dict):
            raise _LostError(f"rubbish instead of an answer: {line[:80]!r}")
        return cast(dict[str, Any], data)
