"""Several trainings at a time, each a `nautiloid pretrain` of its own in its own folder."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Mapping

from nautiloid.core.config import Recipe
from nautiloid.core.errors import InputError
from nautiloid.core.run import Run

log = logging.getLogger("nautiloid.repro")

POLL_S = 0.2


def run_all(run: Run, recipes: Mapping[str, Recipe], jobs: int) -> None:
    """Run every recipe in the folder of its name inside `run`; finished ones are left alone.

    One job runs in this process. More run as processes, which are asked to stop when this run is; the
    same call goes on with what is left.

    Raises:
        InputError: A process failed; the others are stopped.
    """
    if jobs == 1:
        for name, recipe in recipes.items():
            if run.should_stop.is_set():
                return
            run.nested(name, recipe)
        return
    opened = {name: Run.open(run.path / name, recipe) for name, recipe in recipes.items()}
    waiting = [name for name, inner in opened.items() if not inner.is_done]
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        while (waiting or running) and not run.should_stop.is_set():
            while waiting and len(running) < jobs:
                name = waiting.pop(0)
                command = [sys.executable, "-m", "nautiloid", "pretrain", str(run.path / name)]
                running[name] = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            time.sleep(POLL_S)
            ended = [name for name, process in running.items() if process.poll() is not None]
            for name in ended:
                if status := running.pop(name).returncode:
                    raise InputError(str(run.path / name), f"status {status}", "see its log.txt")
                log.info("%s is done, %d to go", name, len(waiting) + len(running))
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
