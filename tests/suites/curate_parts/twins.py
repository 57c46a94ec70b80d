"""A deduplication by equal text that loads nothing."""

import time
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from nautiloid.curate.dedup.dedup import DECISIONS, Dedup, dedup, quality


@dedup("twins")
@dataclass(frozen=True, kw_only=True)
class Twins(Dedup):
    """Of equal texts the best stays, among equals the smallest id; `words` compares only the first ones."""

    words: int | None = None
    delay_s: float = 0.0

    def sketch(self, documents):
        schema = pa.schema([("id", "string"), ("quality", "float32"), ("text", "string")])
        rows = [
            {"id": d.id, "quality": quality(d), "text": " ".join(d.text.split()[: self.words])}
            for d in documents
        ]
        return pa.Table.from_pylist(rows, schema=schema)

    def decide(self, sketches, out, *, memory_bytes):
        time.sleep(self.delay_s)
        groups = {}
        for unit, path in enumerate(sketches):
            for row, entry in enumerate(pq.read_table(path).to_pylist()):
                rank = (-entry["quality"], entry["id"])
                groups.setdefault(entry["text"], []).append((rank, unit, row))
        rows = [
            {
                "unit": unit,
                "row": row,
                "reason": "exact_document",
                "keeper_unit": min(group)[1],
                "keeper_row": min(group)[2],
                "similarity": 1.0,
            }
            for group in groups.values()
            for rank, unit, row in group
            if (rank, unit, row) != min(group)
        ]
        rows.sort(key=lambda row: (row["unit"], row["row"]))
        pq.write_table(pa.Table.from_pylist(rows, schema=DECISIONS), out)
