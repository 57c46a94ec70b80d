"""Near duplicates among a million documents: theory, recall, precision, speed, memory, cost.

    python -m venv --system-site-packages /tmp/peer
    /tmp/peer/bin/pip install datatrove==0.10.1 'xxhash<4' spacy
    python benchmarks/dedup.py --peer-python /tmp/peer/bin/python

The corpus is made once in `--folder` (docstrings of installed packages, text of a word chain, planted
near duplicates whose Jaccard indices are measured by Python sets). Speeds are characters a second of CPU
time of one process on one core, from reading the corpus to the list of what goes; the peer is
datatrove's four stages with its defaults on 2,000 of the same documents.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from dedup_rows.corpus import UNIT, Pair, jaccard, make, word_shingles
from nautiloid.curate.dedup._reference import collision_rate
from results_file import Row, write_results

HERE = Path(__file__).parent
CURVE = (10_000, 100_000, 1_000_000)
PEER_DOCUMENTS, PEER_REPS = 2_000, 3
MEMORY = 512 << 20
BOUNDS = (64 << 20, 256 << 20, 1 << 30)
WIDTH = 0.005  # pairs this near to an index count for it
STATE_BYTES = 24 + 16  # a document, and one that has a candidate
READ_BYTES = 48 << 20  # for a row group of a sketch file while it is decoded


def main() -> None:
    """Make the corpus, run, check, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer-python", type=Path, required=True, help="a Python with datatrove")
    parser.add_argument("--folder", type=Path, default=Path("runs/bench-dedup"))
    parser.add_argument("--documents", type=int, default=CURVE[-1], help="fewer write nothing")
    options = parser.parse_args()
    count: int = options.documents
    corpus = options.folder / str(count)
    pairs = make(corpus, count)
    curve = [n for n in CURVE if n < count] + [count]
    unit = corpus / "00000.parquet"
    peer = [run_peer(options.peer_python, unit)]
    rows: list[Row] = []
    costs: dict[tuple[str, int], dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        work = Path(temporary)
        for stage in ("default", "nemotron"):
            for n in curve:
                costs[stage, n] = run_ours(corpus, work / f"{stage}{n}", stage, n, MEMORY)
        for stage in ("default_characters", "peer_settings"):
            n = min(count, 100_000)
            costs[stage, n] = run_ours(corpus, work / stage, stage, n, MEMORY)
        peer += [run_peer(options.peer_python, unit) for _ in range(PEER_REPS - 1)]
        rows += theory_rows(pairs, decisions(work / f"nemotron{count}"))
        rows += edge_rows(pairs, work / f"default{count}", corpus)
        rows += speed_rows(costs, peer, count)
        for memory in BOUNDS:
            for stage in ("default", "nemotron"):
                folder = work / f"{stage}{count}"
                found = run_ours(corpus, folder, stage, count, memory, "--decide-only")
                rows.append(memory_row(stage, count, memory, found))
    rows += [cost_row(stage, n, cost) for (stage, n), cost in costs.items()]
    notes: dict[str, object] = {
        "documents": count,
        "planted_pairs": len(pairs),
        "peer": {"datatrove": "0.10.1", "documents": PEER_DOCUMENTS, "runs": peer},
        "runs": {f"{stage}_{n}": cost for (stage, n), cost in costs.items()},
    }
    write_results("dedup", rows, notes=notes, to_file=count == CURVE[-1])


def run_ours(corpus: Path, work: Path, stage: str, count: int, memory: int, *more: str) -> Any:
    """Times and memory of one process."""
    command = [sys.executable, HERE / "dedup_rows/ours.py", corpus, work, stage, count, memory]
    return run([*map(str, command), *more])


def run_peer(python: Path, unit: Path) -> Any:
    """Times of datatrove."""
    return run([str(python), str(HERE / "dedup_rows/peer.py"), str(unit), str(PEER_DOCUMENTS)])


def run(command: list[str]) -> Any:
    """The last line that a process prints, as JSON."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def decisions(work: Path) -> dict[int, tuple[int, str]]:
    """Number of each document that goes -> number of the one that stays, and why."""
    table = pq.read_table(work / "decisions")
    names = ("unit", "row", "keeper_unit", "keeper_row", "reason")
    columns = (table[name].to_pylist() for name in names)
    return {u * UNIT + r: (ku * UNIT + kr, why) for u, r, ku, kr, why in zip(*columns, strict=True)}


def joined(found: dict[int, tuple[int, str]], pair: Pair) -> bool:
    """Whether both documents of a planted pair are in one component."""
    ends = [found.get(n, (n, ""))[0] for n in (pair.first, pair.second)]
    return ends[0] == ends[1]


def theory_rows(pairs: list[Pair], found: dict[int, tuple[int, str]]) -> list[Row]:
    """Share of the pairs of an index that `nemotron` joins, against 1 - (1 - s^13)^20."""
    rows: list[Row] = []
    for index in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
        near = [p for p in pairs if abs(p.characters - index) <= WIDTH]
        if not near:
            continue
        rate = sum(joined(found, p) for p in near) / len(near)
        theory = collision_rate(index, 20, 13)
        rows.append(
            Row(
                work=f"nemotron_rate_{index}",
                value=abs(rate - theory),
                unit=f"distance of the share of {len(near)} pairs joined from the theory",
                better="lower",
                goal=0.02 if index in (0.8, 0.85) else None,
                ours=rate,
                peer=theory,
                limit=f"mean index {statistics.mean(p.characters for p in near):.4f}",
            )
        )
    return rows


def edge_rows(pairs: list[Pair], work: Path, corpus: Path) -> list[Row]:
    """Recall of planted edges, precision of all edges that were used, what went and why."""
    found = decisions(work)
    edges = [p for p in pairs if p.words >= 0.8]
    others = [p for p in pairs if p.words < 0.8]
    recall = sum(joined(found, p) for p in edges) / max(1, len(edges))
    direct = {n: keeper for n, (keeper, why) in found.items() if why == "near_duplicate"}
    wanted = {*direct, *direct.values()}
    texts: dict[int, str] = {}
    for number, unit in enumerate(sorted(corpus.glob("*.parquet"))):
        column = pq.read_table(unit, columns=["text"])["text"]
        here = [n for n in range(number * UNIT, number * UNIT + len(column)) if n in wanted]
        texts.update((n, column[n - number * UNIT].as_py()) for n in here)
    shingles = {n: word_shingles(text) for n, text in texts.items()}
    right = sum(jaccard(shingles[n], shingles[k]) >= 0.8 for n, k in direct.items())
    wrong = sum(joined(found, p) for p in others)
    reasons = Counter(why for _, why in found.values())
    return [
        Row(
            work="default_edge_recall",
            value=recall,
            unit=f"share of {len(edges)} planted pairs with J >= 0.8 that were joined",
            goal=0.95,
            limit=f"theory {statistics.mean(collision_rate(p.words, 20, 8) for p in edges):.4f}",
        ),
        Row(
            work="default_edge_precision",
            value=right / max(1, len(direct)),
            unit=f"share of {len(direct)} removals by a direct edge whose index is >= 0.8",
            goal=0.98,
            limit=f"{wrong} of {len(others)} planted pairs below 0.8 joined",
        ),
        *(
            Row(work=f"default_removed_{why}", value=n, unit="documents")
            for why, n in sorted(reasons.items())
        ),
    ]


def total_s(cost: dict[str, Any]) -> float:
    """CPU seconds from reading to removing."""
    return sum(cost[part] for part in ("read", "sketch", "write", "decide", "remove"))


def speed_rows(
    costs: dict[tuple[str, int], dict[str, Any]], peer: list[dict[str, float]], count: int
) -> list[Row]:
    """Characters a CPU second from end to end, against the peer's."""
    parts = ("signatures", "buckets", "cluster", "filter")
    speeds = [p["characters"] / sum(p[part] for part in parts) for p in peer]
    rows: list[Row] = []
    for (stage, n), cost in costs.items():
        if n < min(count, 100_000):
            continue
        ours = cost["characters"] / total_s(cost)
        goal = {"default": 60.0, "nemotron": 25.0}.get(stage) if n == count else None
        rows.append(
            Row(
                work=f"speed_{stage}_{n}",
                value=ours / statistics.median(speeds),
                unit="ratio of characters a CPU second to datatrove, end to end",
                goal=goal,
                ours=ours,
                peer=statistics.median(speeds),
                reps=len(speeds),
                spread=(ours / max(speeds), ours / min(speeds)),
            )
        )
    return rows


def memory_row(stage: str, count: int, memory: int, found: dict[str, Any]) -> Row:
    """Growth of the resident memory while deciding, against what is stated."""
    used = found["peak_rss"] - found["baseline_rss"]
    bound = memory + STATE_BYTES * count + READ_BYTES
    return Row(
        work=f"memory_{stage}_{memory >> 20}MB",
        value=used / bound,
        unit=f"of memory_bytes, {STATE_BYTES} bytes a document and {READ_BYTES >> 20} MB",
        better="lower",
        goal=1.0,
        ours=float(used),
        peer=float(bound),
        limit=f"deciding took {found['decide']:.1f} CPU s; peak {found['peak_rss'] / 1e6:.0f} MB",
    )


def cost_row(stage: str, count: int, cost: dict[str, Any]) -> Row:
    """CPU seconds, and how they divide."""
    parts = ", ".join(f"{p} {cost[p]:.2f}" for p in ("read", "sketch", "write", "decide"))
    return Row(
        work=f"cost_{stage}_{count}",
        value=total_s(cost) / count * 1e6,
        unit="CPU s a million documents",
        better="lower",
        ours=total_s(cost),
        limit=f"{parts}; sketches {cost['sketch_bytes'] / cost['characters']:.2f} bytes a character",
    )


if __name__ == "__main__":
    main()
