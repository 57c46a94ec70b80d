"""The phases of a run: units, deduplication, finish, shards, and the files that tell of them."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from nautiloid.core.errors import InputError
from nautiloid.core.files import read_json, write_json
from nautiloid.core.progress import Bar, progress
from nautiloid.core.run import Run
from nautiloid.curate.card import write_card
from nautiloid.curate.decide import dedup_folder
from nautiloid.curate.executor import Job, Pool
from nautiloid.curate.finish import final_folder
from nautiloid.curate.flow import kind_of
from nautiloid.curate.inputs import INPUT, largest_first, plan_units
from nautiloid.curate.manifest import write_manifest
from nautiloid.curate.mixture import write_mixture
from nautiloid.curate.reader import Unit
from nautiloid.curate.recipe import CurateRecipe
from nautiloid.curate.report import write_report
from nautiloid.curate.samples import write_samples
from nautiloid.curate.shards import plan_shards, written_facts
from nautiloid.curate.store import DONE, remove_torn, result_facts
from nautiloid.curate.unit_work import unit_folder

log = logging.getLogger("nautiloid.curate")

Facts = dict[str, Any]
# Folders in which files or folders are written under a temporary name first.
TORN = ("units", "dedup", "final", "final/shards", "samples", "shards", "shards/*/*")


def curate(recipe: CurateRecipe, run: Run) -> None:
    """Do what is left of the run.

    Raises:
        InputError: Bad settings, no input, changed input, a folder in use, or no document left.
    """
    with _locked(run.path), _unstarted(run.path):
        if not _has_begun(run.path):
            (run.path / INPUT).unlink(missing_ok=True)
        units = plan_units(run.path, recipe.source)
        for place in (run.path, *(found for name in TORN for found in run.path.glob(name))):
            remove_torn(place)
        phases = _Phases(recipe, run, units)
        with recipe.executor.pool(run.path, recipe.limits) as pool:
            phases.clock.note(executor=kind_of(recipe.executor), workers=pool.workers)
            facts = phases.all(pool)
        if facts is None:
            return
        done, finals, shards = facts
        clock = phases.clock.facts
        documents = sum(band["documents"] for final in finals for band in final["bands"])
        if not documents:
            raise InputError("stages", None, f"no document is left: see {_worst(done, finals)}")
        write_manifest(run.path, recipe, units, done, finals, shards)
        write_samples(run.path, recipe, len(units))
        write_card(run.path, recipe)
        write_mixture(run.path, recipe)
        write_json(run.path / "timing.json", phases.timing(done, finals))
        write_report(run.path)
        run.finish(**_summary(run.path, [s.name for s in recipe.subsets], clock))


class _Phases:
    def __init__(self, recipe: CurateRecipe, run: Run, units: list[Unit]):
        self.recipe = recipe
        self.run = run
        self.folder = run.path
        self.units = units
        self.clock = _Clock(run.path / "timing.json")

    def all(self, pool: Pool) -> tuple[list[Facts], list[Facts], list[Facts]] | None:
        """Facts of units, finished units and shards; None when the run is to stop."""
        indices = largest_first(self.units, range(len(self.units)))
        done = self._units(pool, "units", "unit", indices, unit_folder)
        if done is None:
            return None
        for index, name in enumerate(self.recipe.names("dedup")):
            if not self._dedup(pool, index, name):
                return None
        finals = self._units(pool, "finish", "finish", indices, final_folder)
        if finals is None:
            return None
        shards = self._shards(pool)
        return None if shards is None else (done, finals, shards)

    def timing(self, done: Sequence[Facts], finals: Sequence[Facts]) -> Facts:
        """Seconds by stage, summed over workers, and by phase; most memory of a worker."""
        seconds: dict[str, float] = {}
        for facts in (*done, *finals):
            for stage in facts["stages"]:
                seconds[stage["name"]] = seconds.get(stage["name"], 0.0) + stage["seconds"]
        rounded = {name: round(value, 3) for name, value in seconds.items()}
        peak = max((facts["peak_bytes"] for facts in (*done, *finals)), default=0)
        return {"seconds": rounded, "peak_bytes": peak, **self.clock.facts}

    def _units(
        self,
        pool: Pool,
        phase: str,
        job: str,
        indices: Sequence[int],
        place: Callable[[Path, int], Path],
    ) -> list[Facts] | None:
        facts = {index: result_facts(place(self.folder, index)) for index in indices}
        left = [index for index in indices if facts[index] is None]
        jobs = [{"job": job, "index": i, "name": self.units[i].name} for i in left]
        with self.clock.timed(phase):
            done = self._map(pool, phase, jobs, len(indices) - len(left))
        if done is None:
            return None
        facts |= dict(zip(left, done, strict=True))
        return [fact for _, fact in sorted(facts.items()) if fact is not None]

    def _dedup(self, pool: Pool, index: int, name: str) -> bool:
        if result_facts(dedup_folder(self.folder, index)) is not None:
            return True
        # What was finished without this decision is worth nothing.
        shutil.rmtree(self.folder / "final", ignore_errors=True)
        log.info("%s: deciding over %d units", name, len(self.units))
        with self.clock.timed("dedup"):
            answer = pool.alone(
                {"job": "dedup", "index": index, "name": name}, self.run.should_stop
            )
        if answer is None or self.run.should_stop.is_set():
            return False
        log.info("%s: %s", name, answer["dropped"] or "no duplicates")
        return True

    def _shards(self, pool: Pool) -> list[Facts] | None:
        shards = plan_shards(self.folder, self.recipe, len(self.units))
        stems = [shard.stem(self.recipe) for shard in shards]
        facts = {stem: written_facts(self.folder, stem) for stem in stems}
        left = [s for s, stem in zip(shards, stems, strict=True) if facts[stem] is None]
        jobs = [shard.job(self.recipe) for shard in left]
        with self.clock.timed("shards"):
            done = self._map(pool, "shards", jobs, len(shards) - len(left))
        if done is None:
            return None
        facts |= {shard.stem(self.recipe): fact for shard, fact in zip(left, done, strict=True)}
        return [fact for stem in stems if (fact := facts[stem]) is not None]

    def _map(self, pool: Pool, phase: str, jobs: Sequence[Job], start: int) -> list[Facts] | None:
        if self.run.should_stop.is_set():
            return None
        if not jobs:
            return []
        found: dict[int, Facts] = {}
        with progress(phase, start + len(jobs), start=start) as bar:
            speed = _Speed(bar, pool)
            for event in pool.map(jobs, self.run.should_stop):
                if event is not None:
                    found[event[0]] = event[1]
                speed.show(None if event is None else event[1])
        if len(found) < len(jobs):
            return None
        return [found[position] for position in range(len(jobs))]


class _Speed:
    """Figures beside a bar: what is finished and what is in work, by time."""

    def __init__(self, bar: Bar, pool: Pool):
        self._bar = bar
        self._pool = pool
        self._began = time.monotonic()
        self._finished = [0, 0, 0]

    def show(self, facts: Facts | None) -> None:
        if facts is not None and "stages" in facts:
            stages = facts["stages"]
            items = stages[0]["documents_in"] if stages else facts["documents"]
            dropped = sum(sum(stage["dropped"].values()) for stage in stages)
            for at, more in enumerate((items, facts["documents"], dropped)):
                self._finished[at] += more
        running = self._pool.counts() if facts is None else (0, 0, 0)
        items, kept, dropped = (a + b for a, b in zip(self._finished, running, strict=True))
        seconds = max(time.monotonic() - self._began, 1e-3)
        figures: dict[str, float | str] = {}
        if items:
            figures = {
                "pages/s": items / seconds,
                "kept/s": kept / seconds,
                "dropped": f"{dropped / items:.0%}",
            }
        self._bar.advance(0 if facts is None else 1, **figures)


class _Clock:
    """Wall time by phase, over all calls that worked on the run."""

    def __init__(self, path: Path):
        self._path = path
        kept = read_json(path) if path.is_file() else {}
        self.facts: Facts = {"wall_s": kept.get("wall_s", {})}

    def note(self, **facts: Any) -> None:
        """Set facts of this call."""
        self.facts |= facts

    @contextlib.contextmanager
    def timed(self, phase: str) -> Generator[None, None, None]:
        """Add the time of the body to a phase; kept also when the body is cut short."""
        began = time.monotonic()
        try:
            yield
        finally:
            wall = self.facts["wall_s"]
            wall[phase] = round(wall.get(phase, 0.0) + time.monotonic() - began, 3)
            write_json(self._path, self.facts)


@contextlib.contextmanager
def _locked(folder: Path) -> Generator[None, None, None]:
    """Hold the run folder; the system lets go of it when the process ends, however it ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            remedy = "wait for it, or choose another --out"
            raise InputError(str(folder), "another process works on this run", remedy) from None
        except OSError as error:  # some network file systems know no locks
            log.warning("%s: cannot be locked (%s)", folder, error.strerror)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _unstarted(folder: Path) -> Generator[None, None, None]:
    """Leave nothing behind where the settings fail before the first unit is done."""
    try:
        yield
    except InputError:
        if not _has_begun(folder):
            for name in ("units", "dedup", "final"):
                shutil.rmtree(folder / name, ignore_errors=True)
            for name in (INPUT, "timing.json"):
                (folder / name).unlink(missing_ok=True)
        raise


def _has_begun(folder: Path) -> bool:
    """Whether a unit is done, so that there is something to lose."""
    return any((folder / "units").glob("*/" + DONE))


def _worst(done: Sequence[Facts], finals: Sequence[Facts]) -> str:
    """The stage and reason that dropped most."""
    counts: dict[str, int] = {}
    for facts in (*done, *finals):
        for stage in facts["stages"]:
            for reason, count in stage["dropped"].items():
                name = f"{stage['name']}: {reason}"
                counts[name] = counts.get(name, 0) + count
    if not counts:
        return "the input, which holds no page"
    name = max(counts, key=lambda key: counts[key])
    return f"{name} ({counts[name]:,} documents)"


def _summary(folder: Path, subsets: Sequence[str], clock: Facts) -> Facts:
    """Final figures of the run."""
    manifest = read_json(folder / "manifest.json")
    whole = manifest["subsets"]["all"]
    named = {
        name: f"{facts['documents']:,} documents ({facts['share']:.1%})"
        for name, facts in manifest["subsets"].items()
        if name in subsets
    }
    seconds = sum(clock["wall_s"].values())
    pages = manifest["input"]["pages"]
    return {
        "pages": pages,
        "documents": whole["documents"],
        "text_bytes": whole["bytes"],
        **({"tokens": whole["tokens"]} if whole["tokens"] is not None else {}),
        **named,
        "wall_s": round(seconds, 1),
        "pages_per_s": round(pages / max(seconds, 1e-3), 1),
        "shards": str(folder / "shards"),
        "executor": clock["executor"],
        "workers": clock["workers"],
    }
