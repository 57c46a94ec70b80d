"""Workers on the machines of a Ray cluster, with the run folder on a file system that all of them share."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
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
    """Ray Data over the units; each of its actors watches a worker process, as the local executor does.

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
        # Whatever still asks for results after the end must not start a cluster of its own.
        os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
        try:
            import ray
            import ray.data
        except ImportError:
            raise missing_extra("ray", "cluster") from None
        is_ours = not ray.is_initialized()
        if is_ours:
            _connect(ray, self.address)
        try:
            # It writes traces of errors that reach us anyway, and of its own end when a run is stopped.
            logging.getLogger("ray.data").setLevel(logging.CRITICAL)
            ray.data.DataContext.get_current().enable_progress_bars = False
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
    # Ray Data makes its actors in a way that Ray itself reports as an error.
    level = os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
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
        if level == "fatal":
            del os.environ["RAY_BACKEND_LOG_LEVEL"]
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
        self._wide: Any = None
        self._digest = sha256(folder / "config.json")
        self._check()

    def map(
        self, jobs: Sequence[Job], stop: threading.Event
    ) -> Iterator[tuple[int, dict[str, Any]] | None]:
        """One block a job: Ray Data hands them to its actors, those of a lost machine once more."""
        if not jobs:
            return
        rows = [{"position": i, "job": json.dumps(dict(job))} for i, job in enumerate(jobs)]
        data = self.ray.data
        dataset = data.from_items(rows, override_num_blocks=len(rows)).map(
            Worker,
            fn_constructor_args=self._arguments(is_wide=False),
            num_cpus=1,
            compute=data.ActorPoolStrategy(
                size=min(self.workers, len(jobs)), max_tasks_in_flight_per_actor=1
            ),
        )
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        consumer = threading.Thread(target=_consume, args=(dataset, answers, stop), daemon=True)
        consumer.start()
        left = len(jobs)
        while left and not stop.is_set():
            try:
                block = answers.get(timeout=TICK_S)
            except queue.Empty:
                yield None
                continue
            if isinstance(block, BaseException):
                raise self._lost(block) from None
            for position, answer in block:
                left -= 1
                yield position, _checked(json.loads(answer))
        if not left:
            # What it calls after the end of the cluster would start another one.
            consumer.join()

    def alone(self, job: Job, stop: threading.Event) -> dict[str, Any] | None:
        """One actor whose process uses all cores of its machine."""
        if self._wide is None:
            made = self.ray.remote(Worker).options(
                num_cpus=0, max_restarts=RETRIES, max_task_retries=RETRIES
            )
            self._wide = made.remote(*self._arguments(is_wide=True))
        reference = self._wide.run.remote(dict(job))
        while not stop.is_set():
            ready, _ = self.ray.wait([reference], timeout=TICK_S)
            if ready:
                return self._get(reference)
        self.close()
        return None

    def counts(self) -> tuple[int, int, int]:
        """Nothing: figures of work in hand stay on the machines that do it."""
        return 0, 0, 0

    def close(self) -> None:
        """End the actor of `alone` and, with it, its process; those of `map` end with it."""
        if self._wide is not None:
            self.ray.kill(self._wide)
        self._wide = None

    def _arguments(self, *, is_wide: bool) -> tuple[Any, ...]:
        memory_bytes = None if is_wide else self.limits.memory_bytes
        folder, digest = str(self.folder), self._digest
        return folder, digest, self.limits.page_s, memory_bytes, is_wide, os.getcwd()

    def _check(self) -> None:
        """Refuse a cluster that has no room, or does not see the run folder."""
        probe = self.ray.remote(_seen).options(num_cpus=1).remote(str(self.folder), self._digest)
        if not self.ray.wait([probe], timeout=START_S)[0]:
            remedy = f"no CPU of the cluster became free in {START_S:.0f} s: end other jobs"
            raise InputError("executor", "no worker started", remedy)
        self._get(probe)

    def _get(self, reference: Any) -> dict[str, Any]:
        try:
            return _checked(self.ray.get(reference))
        except self.ray.exceptions.RayError as error:
            raise self._lost(error) from None

    def _lost(self, error: BaseException) -> Exception:
        if not isinstance(error, self.ray.exceptions.RayError):
            return error if isinstance(error, Exception) else RuntimeError(str(error))
        remedy = "the same command goes on where it stopped"
        return InputError("executor", f"a worker was lost ({error})", remedy)


def _consume(dataset: Any, answers: queue.SimpleQueue[Any], stop: threading.Event) -> None:
    """Hand over what the data set yields, block by block."""
    try:
        for block in dataset.iter_batches(
            batch_size=None, batch_format="numpy", prefetch_batches=0
        ):
            answers.put(zip(block["position"].tolist(), block["answer"].tolist(), strict=True))
            if stop.is_set():
                return
    except Exception as error:
        # Told to the thread that waits; it knows which errors are the cluster's.
        answers.put(error)


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        raise InputError(*answer["error"])
    return answer


def _seen(folder: str, digest: str) -> dict[str, Any]:
    """Whether this machine sees the run folder."""
    config = Path(folder) / "config.json"
    if config.is_file() and sha256(config) == digest:
        return {}
    host = os.uname().nodename
    remedy = "put the run folder on a file system that all machines of the cluster share"
    return {"error": [folder, f"not to be seen from {host}", remedy]}


class Worker:
    """The actor: a guard, and answers that need no class of ours to be read."""

    def __init__(
        self,
        folder: str,
        digest: str,
        page_s: float,
        memory_bytes: int | None,
        is_wide: bool,
        place: str,
    ):
        self.refusal = _seen(folder, digest)
        if not self.refusal:
            self.guard = Guard(
                Path(folder),
                page_s=page_s,
                memory_bytes=memory_bytes,
                threads=cores() if is_wide else 1,
                place=place if os.path.isdir(place) else None,
            )

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do the job of a row of a data set."""
        return {"position": row["position"], "answer": json.dumps(self.run(json.loads(row["job"])))}

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Do a job."""
        if self.refusal:
            return self.refusal
        try:
            return self.guard.run(job, threading.Event())
        except InputError as error:
            value = error.value if isinstance(error.value, str | None) else repr(error.value)
            return {"error": [error.field, value, error.remedy]}
