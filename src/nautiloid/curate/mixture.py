"""The mixture file of a run: its shards as a source of training, weighted by size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nautiloid.core.files import MANIFEST, read_json
from nautiloid.data.mixing import Mixture, Part, Phase, write_mixture_file
from nautiloid.data.source import Source

if TYPE_CHECKING:
    from nautiloid.curate.recipe import CurateRecipe

MIXTURE = "mixture.json"
# What training reads best first: text, which any tokenizer can read, in the format that is fastest to seek in.
PREFERRED = ("parquet", "jsonl", "megatron")


def write_mixture(folder: Path, recipe: CurateRecipe) -> None:
    """Write `mixture.json`: the lowest subset, or everything where there is none.

    Each band of the subset is a part; its weight is its tokens (its bytes where no tokenizer counted).
    """
    manifest = read_json(folder / MANIFEST)
    lowest = min(recipe.subsets, key=lambda s: s.min_int_score, default=None)
    subsets = manifest["subsets"]
    chosen = subsets["all"]
    if lowest is not None and subsets[lowest.name]["documents"]:
        chosen = subsets[lowest.name]
    name = next(name for name in PREFERRED if name in recipe.shards.formats)
    parts: list[Part] = []
    for band in chosen["bands"]:
        counts: dict[str, Any] = subsets["all" if band == "all" else band]
        if counts["documents"]:
            weight = counts["tokens"] if counts["tokens"] is not None else counts["bytes"]
            source = _source(name, f"shards/{name}/{band}")
            parts.append(Part(source, weight=float(weight), name=f"{recipe.name}-{band}"))
    mixture = Mixture((Phase(parts=tuple(parts)),))
    most = min(mixture.shuffle_samples, chosen["documents"])  # more would be the same ones again
    write_mixture_file(folder / MIXTURE, replace(mixture, shuffle_samples=most))


def _source(name: str, path: str) -> Source:
    cls = Source.registry.get(name)
    return cls(paths=(path,))
