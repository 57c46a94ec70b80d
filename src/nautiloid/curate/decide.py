"""Which documents go as duplicates: all sketches of one deduplication, in one process.

The result is `dedup/<index>/drops.parquet`, with units and rows as in `units/`. A later
deduplication sees only what the earlier ones left, so that no document goes for the sake of one
that is gone itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nautiloid.curate.heartbeat import Phase
from nautiloid.curate.store import result_folder
from nautiloid.curate.unit_work import unit_folder

if TYPE_CHECKING:
    from nautiloid.curate.jobs import Jobs

DROPS = "drops.parquet"


def dedup_folder(folder: Path, index: int) -> Path:
    """Where the result of a deduplication goes."""
    return folder / "dedup" / str(index)


def decide(jobs: Jobs, job: Mapping[str, Any]) -> dict[str, Any]:
    """Do the deduplication `index` of the recipe."""
    index: int = job["index"]
    dedup = jobs.recipe.dedup[index]
    jobs.heartbeat.enter(Phase.BULK, id=f"dedup {index}")
    facts: dict[str, Any] = {}
    with result_folder(dedup_folder(jobs.folder, index), lambda: facts) as folder:
        sketches = [
            unit_folder(jobs.folder, unit) / f"sketch-{index}.parquet"
            for unit in range(len(jobs.units))
        ]
        dropped = [
            pq.read_table(dedup_folder(jobs.folder, former) / DROPS) for former in range(index)
        ]
        left = _left(sketches, dropped) if any(table.num_rows for table in dropped) else None
        if left is not None:
            sketches = [
                _filtered(path, rows, folder / f"left-{unit}.parquet")
                for unit, (path, rows) in enumerate(zip(sketches, left, strict=True))
            ]
        out = folder / DROPS
        dedup.decide(sketches, out, memory_bytes=jobs.recipe.dedup_memory_bytes)
        table = pq.read_table(out)
        if left is not None:
            table = renumbered(table, left)
            pq.write_table(table, out, compression="zstd")
        for item in folder.iterdir():
            if item != out and item.is_file():
                item.unlink()
        counts = table["reason"].value_counts().to_pylist()
        facts["dropped"] = {entry["values"]: entry["counts"] for entry in counts}
    return facts


def drops_of_unit(folder: Path, index: int, unit: int) -> dict[int, dict[str, Any]]:
    """What the deduplication `index` drops of a unit, by row."""
    path = dedup_folder(folder, index) / DROPS
    table = pq.read_table(path, filters=[("unit", "=", unit)])
    return {row["row"]: row for row in table.to_pylist()}


def _left(sketches: list[Path], dropped: list[pa.Table]) -> list[np.ndarray[Any, Any]]:
    """For each unit the rows that former deduplications left."""
    masks = [np.ones(pq.read_metadata(path).num_rows, dtype=bool) for path in sketches]
    for table in dropped:
        gone = table.filter(table["lines"].is_null())  # the others only lose some lines
        units, rows = gone["unit"].to_numpy(), gone["row"].to_numpy()
        for unit in np.unique(units):
            masks[unit][rows[units == unit]] = False
    return [np.flatnonzero(mask) for mask in masks]


def _filtered(path: Path, rows: np.ndarray[Any, Any], out: Path) -> Path:
    with pq.ParquetFile(path) as file:
        if len(rows) == file.metadata.num_rows:
            return path
        first = 0
        with pq.ParquetWriter(out, file.schema_arrow, compression="zstd") as writer:
            for group in range(file.metadata.num_row_groups):
                table = file.read_row_group(group)
                inside = rows[(rows >= first) & (rows < first + table.num_rows)]
                writer.write_table(table.take(pa.array(inside - first)))
                first += table.num_rows
    return out


def renumbered(table: pa.Table, left: list[np.ndarray[Any, Any]]) -> pa.Table:
    """Decisions about the rows that were left, as decisions about the rows of the units."""
    for unit_column, row_column in (("unit", "row"), ("keeper_unit", "keeper_row")):
        missing = table[row_column].is_null().to_numpy()
        units = table[unit_column].fill_null(-1).to_numpy()
        rows = table[row_column].fill_null(-1).to_numpy().copy()
        for unit in np.unique(units[rows >= 0]):
            chosen = (units == unit) & (rows >= 0)
            rows[chosen] = left[unit][rows[chosen]]
        at = table.schema.get_field_index(row_column)
        column = pa.array(rows, pa.int32(), mask=missing)
        table = table.set_column(at, table.schema.field(at), column)
    return table
