"""The units of a run, recorded at its start: a run goes on only with the input that it began with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nautiloid.core.errors import InputError
from nautiloid.core.files import read_json, write_json
from nautiloid.curate.manifest import versions
from nautiloid.curate.reader import Reader, Unit

log = logging.getLogger("nautiloid.curate")

INPUT = "input.json"


def plan_units(folder: Path, source: Reader) -> list[Unit]:
    """The units of the source; recorded in `folder`, or compared with the record of a former call.

    Raises:
        InputError: There is no input, or it is not what the run began with.
    """
    units = list(source.units())
    if not units:
        raise InputError("source.paths", list(source.paths), "holds nothing to read")
    names = [unit.name for unit in units]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError("source.paths", twice, "named twice; give each file once")
    found: dict[str, Any] = {
        "units": [asdict(unit) for unit in units],
        "versions": versions(),
        "files": {path: _state(path) for path in sorted({unit.path for unit in units})},
    }
    path = folder / INPUT
    if path.is_file():
        recorded = read_json(path)
        _compare(recorded, found)
        if recorded["versions"] != found["versions"]:
            log.warning(
                "this run began with other versions (%s): what is done stays as it is",
                ", ".join(
                    f"{name} {recorded['versions'].get(name)}"
                    for name, version in found["versions"].items()
                    if recorded["versions"].get(name) != version
                ),
            )
    else:
        write_json(path, found)
    return units


def read_units(folder: Path) -> list[Unit]:
    """The units that the run began with."""
    return [Unit(**unit) for unit in read_json(folder / INPUT)["units"]]


def largest_first(units: Sequence[Unit], indices: Sequence[int]) -> list[int]:
    """The order of work: long units first, so that none is left alone at the end."""
    return sorted(indices, key=lambda index: (-units[index].size_bytes, index))


def _state(path: str) -> list[int] | None:
    """Size and time of the last change; None for what is no local file."""
    try:
        state = Path(path).stat()
    except OSError:
        return None
    return [state.st_size, state.st_mtime_ns]


def _compare(recorded: dict[str, Any], found: dict[str, Any]) -> None:
    remedy = "the run goes on only with the input it began with: restore it or choose another --out"
    before = {unit["name"]: unit for unit in recorded["units"]}
    now = {unit["name"]: unit for unit in found["units"]}
    for name in [*before, *now]:
        if name not in now:
            raise InputError(name, "gone since this run began", remedy)
        if name not in before:
            raise InputError(name, "new since this run began", remedy)
        if before[name] != now[name]:
            raise InputError(name, "changed since this run began", remedy)
    if list(before) != list(now):
        raise InputError("source.paths", "another order of files", remedy)
    for path, state in recorded["files"].items():
        if found["files"].get(path) != state:
            raise InputError(path, "changed since this run began", remedy)
