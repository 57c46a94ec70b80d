"""The folder of one run: settings, environment, metrics, log, checkpoints; and its stop flag."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import Any, cast

from nautiloid.core.config import Recipe, from_json, to_json
from nautiloid.core.errors import InputError
from nautiloid.core.files import read_json, write_json
from nautiloid.core.log import file_handler
from nautiloid.core.metrics import Metrics
from nautiloid.core.seed import Seed

SCHEMA = 1

log = logging.getLogger("nautiloid.run")


class Run:
    """An opened run folder.

    Attributes:
        path: The folder; holds `config.json`, `env.json`, `metrics.jsonl`, `log.txt`, `checkpoints/`.
        recipe: The settings of the run.
        seed: Root of all randomness of the run.
        metrics: Appends to `metrics.jsonl`.
        resumed: The folder existed with the same settings.
        should_stop: Set by SIGTERM and SIGINT; loops save and leave when it is set.
    """

    def __init__(self, path: Path, recipe: Recipe, *, resumed: bool):
        self.path = path
        self.recipe = recipe
        self.seed = Seed(recipe.seed)
        self.metrics = Metrics(path / "metrics.jsonl")
        self.resumed = resumed
        self.should_stop = threading.Event()

    @property
    def checkpoints(self) -> Path:
        """Where training state is kept."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """Where the final `Checkpoint` folder goes."""
        return self.path / "model"

    @property
    def is_done(self) -> bool:
        """Whether a former call finished this run."""
        return (self.path / "done.json").is_file()

    def finish(self, **facts: Any) -> None:
        """Mark the run as finished; `facts` are final figures."""
        write_json(self.path / "done.json", facts)

    def facts(self) -> dict[str, Any]:
        """The final figures that `finish` recorded; empty before."""
        return read_json(self.path / "done.json") if self.is_done else {}

    @classmethod
    def open(cls, path: str | os.PathLike[str], recipe: Recipe) -> Run:
        """Create the folder or take up an existing one of the same settings.

        Raises:
            InputError: The folder holds a run with other settings, or something that is no run.
        """
        folder = Path(path)
        config = {"schema": SCHEMA, "recipe": to_json(recipe)}
        recorded_at = folder / "config.json"
        resumed = recorded_at.exists()
        recorded = None
        if resumed:
            recorded = read_json(recorded_at)
            field = _first_difference(
                _decisive(recorded, recipe.free_fields), _decisive(config, recipe.free_fields)
            )
            if field is not None:
                raise InputError(
                    str(folder),
                    f"holds a run with another {field}",
                    "choose another --out or remove it",
                )
        elif folder.exists() and any(folder.iterdir()):
            raise InputError(str(folder), "not empty and not a run", "choose another --out")
        folder.mkdir(parents=True, exist_ok=True)
        if not resumed:
            write_json(folder / "env.json", environment())
        if not resumed or recorded != config:
            write_json(recorded_at, config)
        return cls(folder, recipe, resumed=resumed)

    def nested(self, name: str, recipe: Recipe) -> Run:
        """Run another recipe to its end in the folder `name` of this one, unless it is done already.

        A signal to this run stops it too: check `is_done` of what comes back.
        """
        inner = Run.open(self.path / name, recipe)
        inner.should_stop = self.should_stop
        if not inner.is_done:
            recipe.run(inner)
        return inner

    @contextlib.contextmanager
    def active(self) -> Generator[Run, None, None]:
        """Log into the folder and turn SIGTERM and SIGINT into `should_stop` while the body runs."""
        logger = logging.getLogger("nautiloid")
        logger.setLevel(logging.DEBUG)
        handler = file_handler(self.path / "log.txt")
        logger.addHandler(handler)
        in_main = threading.current_thread() is threading.main_thread()
        former = {}

        def stop(number: int, frame: FrameType | None) -> None:
            if self.should_stop.is_set() and number == signal.SIGINT:
                raise KeyboardInterrupt  # a second Ctrl-C leaves at once
            log.warning("%s: saving and stopping", signal.Signals(number).name)
            self.should_stop.set()

        if in_main:
            former = {n: signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        except Exception:
            log.debug("run failed", exc_info=True)
            raise
        finally:
            for number, previous in former.items():
                signal.signal(number, previous)
            logger.removeHandler(handler)
            handler.close()


def load_run(path: str | os.PathLike[str]) -> Run:
    """Open a recorded run for reading.

    Raises:
        InputError: No run there, or its settings no longer load.
    """
    folder = Path(path)
    return Run(folder, read_recipe(folder / "config.json"), resumed=True)


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """The recipe recorded in a run's `config.json`."""
    data = read_json(path)
    if not isinstance(data, dict) or "recipe" not in data:
        raise InputError(str(path), None, "not the config.json of a run (no field recipe)")
    record = cast(dict[str, Any], data)
    if record.get("schema") != SCHEMA:
        remedy = f"this version reads schema {SCHEMA}"
        raise InputError(f"{path}: schema", record.get("schema"), remedy)
    return from_json(Recipe, record["recipe"], "recipe")


def environment() -> dict[str, Any]:
    """Versions and hardware of this process, for the record."""
    packages = (
        "nautiloid",
        "torch",
        "numpy",
        "safetensors",
        "tokenizers",
        "transformers",
        "triton",
    )
    versions: dict[str, str] = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "versions": versions,
        "commit": _commit(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _commit() -> str | None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
        return result.stdout.strip()
    return None


def _decisive(config: Any, free: tuple[str, ...]) -> Any:
    """The record without the fields that the result does not depend on."""
    if not isinstance(config, dict) or "recipe" not in config:
        return cast(Any, config)
    known = cast(dict[str, dict[str, Any]], config)
    return {**known, "recipe": {k: v for k, v in known["recipe"].items() if k not in free}}


def _first_difference(old: Any, new: Any, path: str = "") -> str | None:
    """Dotted name of the first field that differs; None where all are equal."""
    if old == new:
        return None
    if isinstance(old, dict) and isinstance(new, dict):
        before, after = cast(dict[str, Any], old), cast(dict[str, Any], new)
        for key in {**before, **after}:
            was, now = before.get(key), after.get(key)
            if was != now:
                return _first_difference(was, now, f"{path}.{key}".lstrip("."))
    return path.removeprefix("recipe.") or "config"
