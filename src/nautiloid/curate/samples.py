"""Some documents kept and dropped for each stage and reason, of the whole run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from nautiloid.core.files import read_json, write_text
from nautiloid.curate.finish import final_folder
from nautiloid.curate.reservoir import KEPT, SAMPLE_CHARS, Samples
from nautiloid.curate.unit_work import unit_folder

if TYPE_CHECKING:
    from nautiloid.curate.recipe import CurateRecipe


def write_samples(folder: Path, recipe: CurateRecipe, units: int) -> None:
    """Merge the samples of the units into `samples/kept.jsonl` and `samples/dropped.jsonl`."""
    samples = Samples()
    for unit in range(units):
        for place in (unit_folder, final_folder):
            for record in read_json(place(folder, unit) / "samples.json"):
                samples.add(record)
    deduplications = set(recipe.names("dedup"))
    kept: list[dict[str, Any]] = []
    dropped: list[dict[str, Any]] = []
    for record in samples.records():
        if record["stage"] in deduplications:
            record |= _with_keeper(folder, record["detail"])
        (kept if record["stage"] == KEPT else dropped).append(record)
    for name, records in (("kept", kept), ("dropped", dropped)):
        lines = "".join(json.dumps(record) + "\n" for record in records)
        write_text(folder / "samples" / f"{name}.jsonl", lines)


def _with_keeper(folder: Path, detail: str) -> dict[str, Any]:
    """The document that stayed in place of a duplicate."""
    unit, row, similarity = json.loads(detail)
    said = "" if similarity is None else f"similarity {similarity:.3f}"
    if row < 0:
        return {"detail": f"{said}, already in the reference corpus".lstrip(", "), "keeper": None}
    path = unit_folder(folder, unit) / "documents.parquet"
    found = _row(path, row)
    keeper = {
        "id": found["id"],
        "url": json.loads(found["meta"]).get("url"),
        "text": found["text"][:SAMPLE_CHARS],
        "similarity": similarity,
    }
    return {"detail": said, "keeper": keeper}


def _row(path: Path, row: int) -> dict[str, Any]:
    with pq.ParquetFile(path) as file:
        for group in range(file.metadata.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            if row < size:
                return file.read_row_group(group).slice(row, 1).to_pylist()[0]
            row -= size
    raise AssertionError(f"{path}: row {row} behind the end")
