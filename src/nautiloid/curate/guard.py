"""A worker process under watch: what hangs, crashes or eats memory costs one page, not the run."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

from nautiloid.core.errors import InputError
from nautiloid.curate.heartbeat import SIZE_BYTES, Heartbeat, Phase

log = logging.getLogger("nautiloid.curate")

READ_FACTOR = (
    30  # a reader may scan far between two pages: over damage, over records of other kinds
)
LOAD_S = 600.0
# Python code gives a late page up when told; compiled code does not listen and is killed.
LATE = signal.SIGUSR1
GRACE_S = 1.0
ATTEMPTS = 2
OUT_OF_MEMORY = ("memory allocation of", "MemoryError", "bad_alloc", "Cannot allocate memory")


class StopError(Exception):
    """The run is to stop; the work in hand is lost and will be done again."""


class Guard:
    """One worker process and the rules that end it.

    The process is started when there is work and again after it died. A page that kills it or takes
    too long is left out when the unit is done again; the result says so.

    Args:
        folder: The run folder, which holds the recipe.
        page_s: Seconds a page may take.
        memory_bytes: Address space of the process; None leaves it unbounded.
        threads: Threads that libraries of the process may use.
        place: Folder from which relative paths count; None is the one of this process.
    """

    def __init__(
        self,
        folder: Path,
        *,
        page_s: float,
        memory_bytes: int | None,
        threads: int = 1,
        place: str | None = None,
    ):
        self.folder = folder
        self.page_s = page_s
        self.memory_bytes = memory_bytes
        self.threads = threads
        self.place = place
        self._shared = tempfile.TemporaryFile()  # noqa: SIM115
        self._shared.truncate(SIZE_BYTES)
        self.heartbeat = Heartbeat(self._shared.fileno())
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""

    def run(self, job: Mapping[str, Any], stop: threading.Event) -> dict[str, Any]:
        """Do a job to its end, without the pages that cannot be done.

        Raises:
            InputError: The settings or the input are at fault, or the job dies outside any page.
            RuntimeError: Our fault, with the traceback of the process.
            StopError: `stop` was set.
        """
        skips: dict[str, Any] = {}
        alone: set[int] = set()
        cut: dict[str, Any] | None = None
        attempts = 0
        while True:
            notes = {"skips": skips, "alone": sorted(alone), "cut": cut}
            answer = self._attempt({**job, **notes}, stop)
            if "error" in answer:
                raise InputError(*answer["error"])
            if "traceback" in answer:
                raise RuntimeError(f"{describe(job)}\n{answer['traceback']}")
            if "death" not in answer:
                return answer
            self._kill()
            beat, death = self.heartbeat, answer["death"]
            where = f"{describe(job)}: {beat.phase.name.lower()} {beat.id}".rstrip()
            log.warning("%s: %s %s", where, death["reason"], death["detail"])
            if beat.phase is Phase.PAGE and len(beat.items) > 1 and not alone >= set(beat.items):
                alone |= set(beat.items)  # which one of the batch it was shows when each is alone
            elif beat.phase is Phase.PAGE and str(beat.items[0]) not in skips:
                skips[str(beat.items[0])] = {**death, "step": beat.at_step, "id": beat.id}
            elif beat.phase is Phase.READ and cut is None:
                cut = {**death, "item": beat.items[0]}
            else:
                attempts += 1
                if attempts >= ATTEMPTS:
                    remedy = "raise limits.memory_bytes, or use smaller units; log.txt has more"
                    if beat.phase is Phase.LOAD:
                        remedy = "a worker cannot start: mend what it says"
                    raise InputError(where, f"{death['reason']} {death['detail']}".strip(), remedy)

    def close(self) -> None:
        """End the process."""
        self._kill()
        self.heartbeat.close()
        self._shared.close()
        self._errors.close()

    def _attempt(self, job: Mapping[str, Any], stop: threading.Event) -> dict[str, Any]:
        process = self._started()
        self.heartbeat.reset()
        _send(process, job)
        seen, since = self.heartbeat.beat, time.monotonic()
        is_warned = False
        while True:
            answer = self._answer(process, min(0.1, self.page_s / 4))
            if answer is not None:
                return answer
            if stop.is_set():
                self._kill()
                raise StopError
            now = time.monotonic()
            allowed_s = self._allowed_s()
            if self.heartbeat.beat != seen:
                seen, since, is_warned = self.heartbeat.beat, now, False
            elif now - since > allowed_s + GRACE_S:
                self._kill()
                return {"death": {"reason": "timeout", "detail": "took too long"}}
            elif now - since > allowed_s and not is_warned:
                is_warned = True
                self.heartbeat.call_late(seen)
                process.send_signal(LATE)

    def _allowed_s(self) -> float:
        phase = self.heartbeat.phase
        if phase is Phase.PAGE:
            return self.page_s * len(self.heartbeat.items) + self.heartbeat.patience_s
        if phase is Phase.READ:
            return self.page_s * READ_FACTOR
        return LOAD_S if phase is Phase.LOAD else float("inf")

    def _answer(self, process: subprocess.Popen[bytes], timeout_s: float) -> dict[str, Any] | None:
        handle = cast(IO[bytes], process.stdout).fileno()
        if not select.select([handle], [], [], timeout_s)[0]:
            return None
        piece = os.read(handle, 1 << 16)
        if not piece:
            return {"death": self._post_mortem(process)}
        self._pending += piece
        line, newline, rest = self._pending.partition(b"\n")
        if not newline:
            return None
        self._pending = rest
        return json.loads(line)

    def _post_mortem(self, process: subprocess.Popen[bytes]) -> dict[str, str]:
        status = process.wait()
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - 4000))
        said = self._errors.read().decode("utf-8", "replace")
        self._kill()
        name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        is_memory = status == -signal.SIGKILL or any(sign in said for sign in OUT_OF_MEMORY)
        lines = said.strip().splitlines() or [""]
        line = lines[0 if status < 0 else -1][:200]  # a signal is told first, an exception last
        detail = f"{name} {line}".strip()
        return {"reason": "memory" if is_memory else "crash", "detail": detail}

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._kill()
        self._pending = b""
        self._errors.seek(0)
        self._errors.truncate()
        self.heartbeat.enter(Phase.LOAD)
        threads = str(self.threads)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
            "OMP_NUM_THREADS": threads,
            "NUMBA_NUM_THREADS": threads,
            "POLARS_MAX_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
        }
        handle = self._shared.fileno()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nautiloid.curate.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            pass_fds=(handle,),
            env=environment,
            cwd=self.place,
            process_group=0,  # Ctrl-C goes to us alone, and what it starts dies with it
        )
        setup = {
            "folder": str(self.folder),
            "heartbeat": handle,
            "memory_bytes": self.memory_bytes,
            "threads": self.threads,
        }
        _send(self._process, setup)
        return self._process

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                cast(IO[bytes], pipe).close()


def _send(process: subprocess.Popen[bytes], message: Mapping[str, Any]) -> None:
    """Write one line; that a process has died shows when its answer is awaited."""
    with contextlib.suppress(BrokenPipeError):
        stdin = cast(IO[bytes], process.stdin)
        stdin.write(json.dumps(message).encode() + b"\n")
        stdin.flush()


def describe(job: Mapping[str, Any]) -> str:
    """A job in a few words, for messages."""
    return " ".join(str(job[key]) for key in ("job", "name", "index") if key in job)
