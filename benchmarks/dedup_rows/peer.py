"""datatrove's deduplication with its defaults, in one process; runs under a Python that has datatrove.

    python benchmarks/dedup_rows/peer.py UNIT COUNT

Prints seconds of signatures, buckets, clusters and the filter. Loading its tokenizer and a first
document are not counted.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)


def run(documents: list[Document], folder: Path) -> dict[str, float]:
    """All four stages on one worker."""
    config = MinhashConfig()
    start = time.process_time()
    MinhashDedupSignature(str(folder / "signatures"), config=config).run(documents, 0, 1)
    signed = time.process_time()
    buckets = MinhashDedupBuckets(
        str(folder / "signatures"), str(folder / "buckets"), config=config
    )
    for bucket in range(config.num_buckets):
        buckets.run(None, bucket, config.num_buckets)
    bucketed = time.process_time()
    MinhashDedupCluster(str(folder / "buckets"), str(folder / "removed"), config=config).run(
        None, 0, 1
    )
    clustered = time.process_time()
    kept = sum(1 for _ in MinhashDedupFilter(str(folder / "removed")).run(documents, 0, 1))
    return {
        "signatures": signed - start,
        "buckets": bucketed - signed,
        "cluster": clustered - bucketed,
        "filter": time.process_time() - clustered,
        "kept": kept,
        "characters": sum(len(d.text) for d in documents),
    }


def main() -> None:
    """Warm up, run, print JSON."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    table = pq.read_table(sys.argv[1]).slice(0, int(sys.argv[2]))
    pairs = zip(table["text"].to_pylist(), table["id"].to_pylist(), strict=True)
    documents = [Document(text=text, id=number) for text, number in pairs]
    with tempfile.TemporaryDirectory() as folder:
        run(documents[:2], Path(folder) / "warm")
        print(json.dumps(run(documents, Path(folder) / "all")))


if __name__ == "__main__":
    main()
