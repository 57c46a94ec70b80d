"""The manifest of a run: what came in, what went where and why, what is in the shards."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nautiloid.core.config import to_json
from nautiloid.core.files import MANIFEST, sha256, write_json
from nautiloid.curate.flow import Tally
from nautiloid.curate.reader import Unit

if TYPE_CHECKING:
    from nautiloid.curate.recipe import CurateRecipe

SCHEMA = 1
PACKAGES = (
    *("nautiloid", "fastwarc", "selectolax", "chardetng_py", "py3langid"),
    *("numba", "numpy", "pyarrow", "zstandard"),
)


def write_manifest(
    folder: Path,
    recipe: CurateRecipe,
    units: Sequence[Unit],
    done: Sequence[dict[str, Any]],
    finals: Sequence[dict[str, Any]],
    shards: Sequence[dict[str, Any]],
) -> None:
    """Write `manifest.json`; nothing in it depends on the clock or on who did the work.

    Args:
        folder: The run folder.
        recipe: Its settings.
        units: Its input.
        done: Facts of each unit.
        finals: Facts of each finished unit.
        shards: Facts of each shard.
    """
    stages = _merged(recipe, done, finals)
    fingerprint = blake2b(digest_size=16)
    for facts in done:
        fingerprint.update(f"{facts['unit']}\0{facts['input_digest']}\n".encode())
    subsets = _subsets(recipe, finals)
    manifest = {
        "schema": SCHEMA,
        "name": recipe.name,
        "recipe": {k: v for k, v in to_json(recipe).items() if k not in recipe.free_fields},
        "versions": versions(),
        "input": {
            "units": len(units),
            "bytes": sum(unit.size_bytes for unit in units),
            "pages": stages[0].documents_out,
            "fingerprint": fingerprint.hexdigest(),
        },
        "faults": _faults(done),
        "stages": [{k: v for k, v in tally.facts().items() if k != "seconds"} for tally in stages],
        "subsets": subsets,
        "licences": _summed(finals, "licences"),
        "languages": _summed(finals, "languages"),
        "notes": _summed(finals, "notes"),
        "tokenizer": _tokenizer(recipe),
        "tokens": subsets["all"]["tokens"],
        "files": {name: entry for facts in shards for name, entry in facts["files"].items()},
    }
    write_json(folder / MANIFEST, manifest)


def _merged(
    recipe: CurateRecipe, done: Sequence[dict[str, Any]], finals: Sequence[dict[str, Any]]
) -> list[Tally]:
    merged: dict[str, Tally] = {}
    for facts in (*done, *finals):
        for stage in facts["stages"]:
            tally = merged.setdefault(stage["name"], Tally(stage["name"], stage["kind"]))
            tally.add(stage)
    return list(merged.values())


def _faults(done: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    merged: dict[str, dict[str, int]] = {}
    for facts in done:
        for reason, entry in facts["faults"].items():
            whole = merged.setdefault(reason, {"count": 0, "lost": 0})
            whole["count"] += entry["count"]
            whole["lost"] += entry["lost"]
    return dict(sorted(merged.items()))


def _subsets(recipe: CurateRecipe, finals: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    members = {"all": list(range(len(recipe.bands)))}
    members |= {subset.name: recipe.bands_of(subset) for subset in recipe.subsets}
    members |= {name: [band] for band, name in enumerate(recipe.bands) if name not in members}
    total = sum(band["documents"] for facts in finals for band in facts["bands"])
    found: dict[str, dict[str, Any]] = {}
    for name, bands in members.items():
        counts = Counter[str]()
        for facts in finals:
            for band in bands:
                counts.update(facts["bands"][band])
        found[name] = {
            "bands": [recipe.bands[band] for band in bands],
            "documents": counts["documents"],
            "chars": counts["chars"],
            "bytes": counts["bytes"],
            "tokens": None if recipe.shards.tokenizer is None else counts["tokens"],
            "share": round(counts["documents"] / total, 6) if total else 0.0,
        }
    return found


def _summed(finals: Sequence[dict[str, Any]], name: str) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for facts in finals:
        counts.update(facts[name])
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def _tokenizer(recipe: CurateRecipe) -> dict[str, str] | None:
    if recipe.shards.tokenizer is None:
        return None
    path = Path(recipe.shards.tokenizer) / "tokenizer.json"
    return {"folder": recipe.shards.tokenizer, "sha256": sha256(path)}


def versions() -> dict[str, str]:
    """Of the packages that decide the result."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
