"""Training state on disk: whole or absent, checked before it is used.

`checkpoints/step-00000100/` holds one safetensors file a part (`model`, `optimizer`), the counters
in `state.json`, and a manifest with size and checksum of each file.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nautiloid.core.errors import InputError
from nautiloid.core.files import atomic_path, read_json, verify_manifest, write_json, write_manifest

log = logging.getLogger("nautiloid.train")


@dataclass(frozen=True)
class TrainingState:
    """Everything a run needs to go on.

    Attributes:
        tensors: File stem to tensors by name.
        counters: JSON values: steps, tokens, loader position, seed.
    """

    tensors: Mapping[str, Mapping[str, Tensor]]
    counters: Mapping[str, Any]

    def copied(self) -> TrainingState:
        """A copy in host memory that later steps do not change."""
        tensors = {
            stem: {name: t.detach().to("cpu", copy=True).contiguous() for name, t in part.items()}
            for stem, part in self.tensors.items()
        }
        return TrainingState(tensors, self.counters)


def write_state(folder: Path, state: TrainingState) -> None:
    """Write one checkpoint folder atomically."""
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for stem, part in state.tensors.items():
            _save_file(part, temporary / f"{stem}.safetensors")
        write_json(temporary / "state.json", dict(state.counters))
        write_manifest(temporary, parts=sorted(state.tensors))


def _save_file(tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        number = int(found[1])  # as an OSError a full disk gets its plain message
        raise OSError(number, os.strerror(number), str(path)) from error


def read_state(folder: Path) -> TrainingState:
    """Read one checkpoint folder.

    Raises:
        InputError: It is torn or damaged.
    """
    manifest = verify_manifest(folder)
    try:
        tensors = {stem: load_file(folder / f"{stem}.safetensors") for stem in manifest["parts"]}
    except (SafetensorError, OSError, KeyError) as error:
        raise InputError(
            str(folder), None, f"cannot be read ({error}); use another checkpoint"
        ) from None
    return TrainingState(tensors, read_json(folder / "state.json"))


def saved_steps(folder: Path) -> list[tuple[int, Path]]:
    """Steps and folders of the checkpoints below `folder`, oldest first."""
    found = [
        (item.name.removeprefix("step-"), item) for item in folder.glob("step-*") if item.is_dir()
    ]
    return sorted((int(number), item) for number, item in found if number.isdigit())


def read_latest(folder: Path) -> TrainingState | None:
    """The newest whole checkpoint; damaged ones are named in a warning and passed over."""
    for _, item in reversed(saved_steps(folder)):
        try:
            return read_state(item)
        except InputError as error:
            log.warning("checkpoint refused: %s", error)
    return None


class StateWriter:
    """Writes checkpoints in a background thread and keeps the last few.

    Args:
        folder: Parent of the `step-*` folders.
        keep_last: Number of checkpoints that stay.
    """

    def __init__(self, folder: Path, keep_last: int):
        self.folder = folder
        self.keep_last = keep_last
        self.thread: threading.Thread | None = None
        self.error: Exception | None = None
        for leftover in [*folder.glob(".*.tmp"), *folder.glob(".*.old")]:
            shutil.rmtree(leftover, ignore_errors=True)

    def save(self, step: int, state: TrainingState) -> None:
        """Copy the state now, write it in the background; waits for the write before it.

        Raises:
            InputError: The write before this one failed.
        """
        self.wait()
        copy = state.copied()
        self.thread = threading.Thread(target=self._write, args=(step, copy), name=f"save-{step}")
        self.thread.start()

    def check(self) -> None:
        """Raise what the background write raised, if it did."""
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def wait(self) -> None:
        """Return when nothing is being written."""
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        self.check()

    def _write(self, step: int, state: TrainingState) -> None:
        try:
            write_state(self.folder / f"step-{step:08d}", state)
            self._prune(step)
        except Exception as error:  # handed to the training thread by `check`
            self.error = error

    def _prune(self, step: int) -> None:
        # Folders of later steps are damaged ones that a resumed run has not reached again.
        present = [item for number, item in saved_steps(self.folder) if number <= step]
        for item in present[: -self.keep_last]:
            hidden = item.with_name(f".{item.name}.old")
            item.rename(hidden)
            shutil.rmtree(hidden)
