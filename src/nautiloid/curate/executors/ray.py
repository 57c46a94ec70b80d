"""Workers on the machines of a Ray cluster, with the run folder on a file system that all of them share."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nautiloid.core.errors import InputError, missing_extra
from nautiloid.core.files import sha256
from nautiloid.curate.executor import Executor, Job, executor
from nautiloid.curate.executors.local import cores
from nautiloid.curate.guard import Guard
from nautiloid.curate.reader import Limits

TICK_S = 1.0
START_S = 300.0
REACH_S = 10.0
RETRIES = 3


@executor("ray")
@dataclass(frozen=True, kw_only=True)
class Ray(Executor):
    """A pool of Ray actors; each watches a worker process of its own, as the local executor does.

    Nautiloid must be installed on every machine, and input and run folder must be at the same place on
    all of them.

    Args:
        address: Of the cluster (`auto`, `ray://host:10001`); None starts one on this machine.
        workers: Units in work at once; None takes the CPUs of the cluster.
    """

    address: str | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise InputError("executor.workers", self.workers, "use at least 1")

    @contextlib.contextmanager
    def pool(self, folder: Path, limits: Limits) -> Generator[RayPool, None, None]:
        """The actors; a cluster that was started for them ends with the context."""
        try:
            import ray
        except ImportError:
            raise missing_extra("ray", "cluster") from None
        is_ours = not ray.is_initialized()
        if is_ours:
            _connect(ray, self.address)
        try:
            workers = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            pool = RayPool(ray, folder.absolute(), limits, workers)
            try:
                yield pool
            finally:
                pool.close()
        finally:
            if is_ours:
                ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    """Join or start a cluster whose workers find the modules that we find."""
    _check_reachable(address)
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    try:
        ray.init(
            address=address,
            runtime_env={"env_vars": {"PYTHONPATH": path}},
            include_dashboard=False if address is None else None,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        remedy = "start a cluster with `ray start --head`, or leave the address out"
        raise InputError("executor.address", address, f"{remedy} ({error})") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in former.items():
                signal.signal(number, handler)  # ours save and stop


def _check_reachable(address: str | None) -> None:
    """Refuse at once what Ray would knock at for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # `auto`, or nothing: Ray answers at once
    try:
        socket.create_connection((host, int(port)), timeout=REACH_S).close()
    except OSError as error:
        remedy = f"no cluster answers there ({error.strerror or error}): see `ray start --head`"
        raise InputError("executor.address", address, remedy) from None


class RayPool:
    """See `executor.Pool`."""

    def __init__(self, ray: Any, folder: Path, limits: Limits, workers: int):
        self.ray = ray
        self.folder = folder
        self.limits = limits
        self.workers = workers
        self._actors: list[Any] = []
        self._wide: Any = None

    def map(
        self, jobs: Sequence[Job], stop: threading.Event
    ) -> Iterator[tuple[int, dict[str, Any]] | None]:
        """Whoever is idle takes the next job; a job of a lost machine is done elsewhere."""
        self._start(min(self.workers, len(jobs)))
        idle = list(self._actors)
        running: dict[Any, tuple[int, Any]] = {}
        todo = list(enumerate(jobs))[::-1]
        while (todo or running) and not stop.is_set():
            while todo and idle:
                position, job = todo.pop()
                actor = idle.pop()
                running[actor.run.remote(dict(job))] = position, actor
            ready, _ = self.ray.wait(list(running), timeout=TICK_S)
            if not ready:
                yield None
            for reference in ready:
                position, actor = running.pop(reference)
                answer = self._answer(reference)
                idle.append(actor)
                yield position, answer
        if running:
            self.close()

    def alone(self, job: Job, stop: threading.Event) -> dict[str, Any] | None:
        """One actor whose process uses all cores of its machine."""
        if self._wide is None:
            self._wide = self._actor(cpus=0, is_wide=True)
        reference = self._wide.run.remote(dict(job))
        while not stop.is_set():
            ready, _ = self.ray.wait([reference], timeout=TICK_S)
            if ready:
                return self._answer(reference)
        self.close()
        return None

    def counts(self) -> tuple[int, int, int]:
        """Nothing: figures of work in hand stay on the machines that do it."""
        return 0, 0, 0

    def close(self) -> None:
        """End actors and, with them, their processes."""
        for actor in (*self._actors, *([self._wide] if self._wide is not None else [])):
            self.ray.kill(actor)
        self._actors, self._wide = [], None

    def _actor(self, *, cpus: int, is_wide: bool) -> Any:
        limits = self.limits
        made = self.ray.remote(Worker).options(
            num_cpus=cpus,
            max_restarts=RETRIES,
            max_task_retries=RETRIES,
            scheduling_strategy="SPREAD",
        )
        memory_bytes = None if is_wide else limits.memory_bytes
        return made.remote(str(self.folder), limits.page_s, memory_bytes, is_wide, os.getcwd())

    def _start(self, count: int) -> None:
        """Have this many actors, each of which sees the run folder."""
        fresh = [self._actor(cpus=1, is_wide=False) for _ in range(count - len(self._actors))]
        self._actors += fresh
        digest = sha256(self.folder / "config.json")
        checks = [actor.check.remote(digest) for actor in fresh]
        ready, late = (
            self.ray.wait(checks, num_returns=len(checks), timeout=START_S) if checks else ([], [])
        )
        for reference in ready:
            self._answer(reference)
        if late:
            remedy = "the cluster has no room for them: name fewer in executor.workers"
            raise InputError("executor", f"{len(late)} workers did not start", remedy)

    def _answer(self, reference: Any) -> dict[str, Any]:
        try:
            answer = self.ray.get(reference)
        except self.ray.exceptions.RayActorError as error:
            remedy = "the same command goes on where it stopped"
            raise InputError(
                "executor", f"a worker was lost {RETRIES} times ({error})", remedy
            ) from None
        if "error" in answer:
            raise InputError(*answer["error"])
        return answer


class Worker:
    """The actor: a guard, and answers that need no class of ours to be read."""

    def __init__(
        self, folder: str, page_s: float, memory_bytes: int | None, is_wide: bool, place: str
    ):
        self.folder = Path(folder)
        threads = cores() if is_wide else 1
        self.guard = Guard(
            self.folder,
            page_s=page_s,
            memory_bytes=memory_bytes,
            threads=threads,
            place=place if os.path.isdir(place) else None,
        )

    def check(self, digest: str) -> dict[str, Any]:
        """Whether this machine sees the run folder."""
        config = self.folder / "config.json"
        if config.is_file() and sha256(config) == digest:
            return {}
        host = os.uname().nodename
        remedy = "put the run folder on a file system that all machines of the cluster share"
        return {"error": [str(self.folder), f"not to be seen from {host}", remedy]}

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Do a job."""
        try:
            return self.guard.run(job, threading.Event())
        except InputError as error:
            value = error.value if isinstance(error.value, str | None) else repr(error.value)
            return {"error": [error.field, value, error.remedy]}
