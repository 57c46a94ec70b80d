"""One deduplication in a process of its own, on one core: seconds of each phase and its peak memory.

python benchmarks/dedup_rows/ours.py CORPUS WORK STAGE COUNT MEMORY_BYTES [--decide-only]
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nautiloid.core.types import Document
from nautiloid.curate.dedup.dedup import PARQUET
from nautiloid.curate.dedup.minhash import MinHash, nemotron

BATCH = 1_000
# 24 characters at the other setting's bands and with verification, and the peer's own 112 hashes
STAGES = {
    "default": MinHash(),
    "nemotron": nemotron(),
    "default_characters": MinHash(shingle="characters", size=24),
    "peer_settings": MinHash(bands=14, rows=8, threshold=None),
}


@dataclass
class Times:
    """Seconds of a whole run: reading the corpus, sketching, writing sketches, deciding, removing."""

    read: float = 0.0
    sketch: float = 0.0
    write: float = 0.0
    decide: float = 0.0
    remove: float = 0.0
    characters: int = 0
    removed: int = 0
    sketch_bytes: int = 0
    baseline_rss: int = 0
    peak_rss: int = 0


def sketch(corpus: Path, work: Path, stage: MinHash, count: int, times: Times) -> list[Path]:
    """Sketch the units of the first `count` documents."""
    paths: list[Path] = []
    left = count
    for unit in sorted(corpus.glob("*.parquet")):
        if left <= 0:
            break
        start = time.process_time()
        table = pq.read_table(unit, use_threads=False).slice(0, left)
        left -= len(table)
        documents = [
            Document(i, t)
            for i, t in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True)
        ]
        times.characters += sum(len(d.text) for d in documents)
        read = time.process_time()
        parts = [stage.sketch(documents[i : i + BATCH]) for i in range(0, len(documents), BATCH)]
        done = time.process_time()
        paths.append(work / unit.name)
        pq.write_table(pa.concat_tables(parts), paths[-1], **PARQUET)
        times.read += read - start
        times.sketch += done - read
        times.write += time.process_time() - done
        times.sketch_bytes += paths[-1].stat().st_size
    return paths


def rss() -> int:
    """Peak resident bytes of this process so far; what its parent used does not count."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def main() -> None:
    """Run, print one JSON object."""
    corpus, work, name, count, memory = sys.argv[1:6]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    stage, folder, times = STAGES[name], Path(work), Times()
    folder.mkdir(parents=True, exist_ok=True)
    warm = [Document(str(i), f"{i} " * 40) for i in range(3)]  # loads what was compiled
    pq.write_table(stage.sketch([*warm, *warm]), folder / "warm")
    replace(stage).decide([folder / "warm"], folder / "warm_out", memory_bytes=1 << 20)
    times.baseline_rss = rss()
    if "--decide-only" in sys.argv:
        paths = sorted(folder.glob("*.parquet"))
    else:
        paths = sketch(Path(corpus), folder, stage, int(count), times)
    start = time.process_time()
    stage.decide(paths, folder / "decisions", memory_bytes=int(memory))
    times.decide = time.process_time() - start
    start = time.process_time()
    gone = pq.read_table(folder / "decisions", columns=["unit", "row"], use_threads=False)
    rows: dict[int, list[int]] = {}
    for unit, row in zip(*(gone[c].to_pylist() for c in ("unit", "row")), strict=True):
        rows.setdefault(unit, []).append(row)
    times.remove = time.process_time() - start
    times.removed = len(gone)
    times.peak_rss = rss()
    print(json.dumps(times.__dict__))


if __name__ == "__main__":
    main()
