"""What a run folder says about itself, read without loading the recipe's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from nautiloid.core.errors import InputError
from nautiloid.core.files import MANIFEST, read_json
from nautiloid.core.metrics import read_metrics

Line = dict[str, Any]


@dataclass(frozen=True)
class RunRecord:
    """The files of one run folder, decoded.

    Attributes:
        name: Name of the run.
        kind: What sort of recipe it was, such as `train.sft`.
        lines: Metric lines by kind (`train`, `eval`, `benchmark`, `spike`).
        done: Final figures; None while the run is not finished.
        provenance: `provenance.json` of the final model; empty without one.
        manifests: Checksums and facts of its subfolders (`model`, `corpus`), by their name.
        results: Benchmark results found in the folder.
        answers: Sample answers found in the folder.
    """

    path: Path
    name: str
    kind: str
    settings: dict[str, Any]
    environment: dict[str, Any]
    lines: dict[str, list[Line]]
    done: dict[str, Any] | None
    provenance: dict[str, Any] = field(default_factory=dict[str, Any])
    manifests: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    results: tuple[dict[str, Any], ...] = ()
    answers: tuple[dict[str, Any], ...] = ()

    def series(self, kind: str, name: str) -> tuple[list[float], list[float | None]]:
        """Steps and values of one metric; lines without it are left out, text such as `nan` is a gap."""
        lines = [line for line in self.lines.get(kind, []) if name in line]
        values = [float(v) if isinstance(v := line[name], int | float) else None for line in lines]
        return [float(line["step"]) for line in lines], values

    def last(self, kind: str, name: str) -> Any:
        """The newest value of a metric; None when it was never written."""
        for line in reversed(self.lines.get(kind, [])):
            if name in line:
                return line[name]
        return None

    @property
    def duration_s(self) -> float:
        """Seconds of work by the step times, or by the clock of the lines without them."""
        steps = [v for v in self.series("train", "step_s")[1] if v is not None]
        times = [line["time"] for lines in self.lines.values() for line in lines if "time" in line]
        return sum(steps) or (max(times) - min(times) if times else 0.0)

    @property
    def started(self) -> float:
        """Time of the first metric line; infinity without any."""
        times = [line["time"] for lines in self.lines.values() for line in lines if "time" in line]
        return min(times, default=float("inf"))


def read_record(folder: Path) -> RunRecord:
    """Read one run folder.

    Raises:
        InputError: It holds no run.
    """
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else None
    if not isinstance(config, dict) or "recipe" not in config:
        raise InputError(
            str(folder), "not a run folder", "give a folder that a verb wrote, such as runs/NAME"
        )
    recipe = cast(dict[str, Any], config["recipe"])
    lines: dict[str, list[Line]] = {}
    for line in read_metrics(folder / "metrics.jsonl"):
        lines.setdefault(str(line["kind"]), []).append(line)
    return RunRecord(
        path=folder,
        name=str(recipe.get("name", folder.name)),
        kind=str(recipe.get("kind", "")),
        settings={k: v for k, v in recipe.items() if k not in ("kind", "name")},
        environment=_object(folder / "env.json"),
        lines=lines,
        done=_object(folder / "done.json") if (folder / "done.json").is_file() else None,
        provenance=_object(folder / "model" / "provenance.json"),
        manifests={p.parent.name: _object(p) for p in sorted(folder.glob(f"*/{MANIFEST}"))},
        results=_objects(folder / "results.json"),
        answers=_objects(folder / "samples.json"),
    )


def find_runs(folders: Sequence[Path]) -> list[RunRecord]:
    """Records of the given run folders and of the runs directly below them, oldest first.

    Raises:
        InputError: A folder holds no run and none below it.
    """
    records: list[RunRecord] = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(str(folder), None, "no such folder")
        found = [f for f in (folder, *sorted(folder.iterdir())) if is_run(f)]
        if not found:
            raise InputError(
                str(folder), "no run in it", "give a folder that a verb wrote, such as runs/NAME"
            )
        records += [read_record(f) for f in found]
    return sorted(records, key=lambda record: record.started)


def is_run(folder: Path) -> bool:
    """Whether a folder was written by a run; a checkpoint folder has a config.json too."""
    path = folder / "config.json"
    if not path.is_file():
        return False
    data = read_json(path)
    return isinstance(data, dict) and "recipe" in data


def _object(path: Path) -> dict[str, Any]:
    data = read_json(path) if path.is_file() else None
    return cast(dict[str, Any], data) if isinstance(data, dict) else {}


def _objects(path: Path) -> tuple[dict[str, Any], ...]:
    data = read_json(path) if path.is_file() else None
    return tuple(cast(list[dict[str, Any]], data)) if isinstance(data, list) else ()
