"""The process that does the work: jobs come as JSON lines on standard input, answers go back.

Started by `guard.py`; whatever it reads, runs or links may hang or crash without harm to others.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import queue
import resource
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING

from nautiloid.core.errors import InputError
from nautiloid.curate.guard import LATE
from nautiloid.curate.heartbeat import Heartbeat, Phase

if TYPE_CHECKING:
    from nautiloid.curate.jobs import Jobs


def main() -> None:
    """Serve until standard input ends, which it does when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    setup = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_listen, args=(sys.stdin.buffer, lines), daemon=True).start()
    heartbeat = Heartbeat(setup["heartbeat"])
    if setup["memory_bytes"] is not None:
        bound_memory(setup["memory_bytes"])
    with contextlib.ExitStack() as stack:
        work: Jobs | None = None
        signal.signal(LATE, lambda number, frame: work and work.interrupt())
        while True:
            job = json.loads(lines.get())
            try:
                if work is None:
                    work = _load(Path(setup["folder"]), heartbeat, stack, setup["threads"])
                answer = work.do(job)
            except InputError as error:
                value = error.value if isinstance(error.value, str | None) else repr(error.value)
                answer = {"error": [error.field, value, error.remedy]}
            except OSError as error:
                place = str(error.filename or setup["folder"])
                answer = {"error": [place, error.strerror or str(error), "mend it and run again"]}
            except MemoryError:
                answer = {"death": {"reason": "memory", "detail": "MemoryError"}}
            except Exception:
                answer = {"traceback": traceback.format_exc()}
            if "death" not in answer:  # else it is of interest what was being done
                heartbeat.enter(Phase.IDLE)
            answers.write(json.dumps(answer).encode() + b"\n")
            answers.flush()


def _load(folder: Path, heartbeat: Heartbeat, stack: contextlib.ExitStack, threads: int) -> Jobs:
    heartbeat.enter(Phase.LOAD)
    import pyarrow as pa

    from nautiloid.curate.jobs import Jobs

    pa.set_cpu_count(threads)
    pa.set_io_thread_count(max(1, threads))
    return Jobs(folder, heartbeat, stack)


def _listen(stream: IO[bytes], lines: queue.SimpleQueue[bytes]) -> None:
    for line in stream:
        lines.put(line)
    os._exit(0)  # the parent died: no one waits for the work in hand


def bound_memory(size_bytes: int) -> None:
    """Let allocations beyond `size_bytes` of address space fail; macOS knows no such bound."""
    if sys.platform == "darwin":
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    bound = size_bytes if hard == resource.RLIM_INFINITY else min(size_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))


if __name__ == "__main__":
    main()
