"""Small curation runs on generated pages."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from tests.suites.curate_parts.pages import Pages
from tests.suites.curate_parts.short import Short
from tests.suites.curate_parts.text import Text
from tests.suites.curate_parts.twins import Twins
from tests.suites.curate_parts.upper import Upper

from nautiloid.core.config import to_json
from nautiloid.core.run import Run
from nautiloid.curate.executors.local import Local
from nautiloid.curate.reader import Limits
from nautiloid.curate.recipe import CurateRecipe, Subset
from nautiloid.curate.shards import ShardConfig

ROOT = Path(__file__).parents[2]
WORDS = [
    "reef",
    "shell",
    "spiral",
    "chamber",
    "deep",
    "slow",
    "drift",
    "limit",
    "proof",
    "field",
    "ring",
    "ideal",
    "lemma",
    "curve",
]
OUTPUT = ("shards", "samples", "manifest.json", "mixture.json")


def write_pages(folder, units=6, pages=20, seed=0, extra=()):
    """Files of pages with near duplicates among them; `extra` contents go into the second file."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    former = []
    for unit in range(units):
        rows = []
        for number in range(pages):
            if former and draw.random() < 0.15:
                text = draw.choice(former)
            else:
                text = " ".join(draw.choices(WORDS, k=draw.randint(4, 60)))
            former.append(text)
            rows.append({"id": f"u{unit}-p{number}", "html": text})
        if unit == 1:
            rows[3:3] = [{"id": f"bad-{i}", "html": text} for i, text in enumerate(extra)]
        lines = [json.dumps(row) for row in rows]
        lines.insert(2, "{torn")
        (folder / f"part-{unit}.jsonl").write_text("".join(line + "\n" for line in lines))
    return folder


def tiny_curation(folder, processes=1, **fields):
    """Every phase on the pages in `folder`, cut into several shards."""
    given = {
        "name": "tiny",
        "source": Pages(paths=(str(folder),)),
        "extractor": Text(),
        "stages": (Short(), Upper()),
        "dedup": (Twins(), Twins(words=3)),
        "finish": (Short(words=10),),
        "subsets": (Subset(name="3plus", min_int_score=3), Subset(name="4plus", min_int_score=4)),
        "shards": ShardConfig(
            formats=("parquet", "jsonl"), shard_bytes=4000, row_group_documents=7
        ),
        "limits": Limits(page_s=20.0),
        "executor": Local(processes=processes),
    }
    return CurateRecipe(**{**given, **fields})


def curate(path, recipe):
    """Take the run in `path` up, to its end."""
    run = Run.open(path, recipe)
    with run.active():
        recipe.run(run)
    return run


def start_process(recipe, recorded, out):
    """The same in a process of its own."""
    recorded.write_text(json.dumps({"schema": 1, "recipe": to_json(recipe)}))
    command = [sys.executable, "-m", "nautiloid", "curate", str(recorded), "--out", str(out)]
    path = os.pathsep.join(str(ROOT / part) for part in (".", "src"))
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def output(folder):
    """Bytes of everything that a run publishes, by path."""
    folder = Path(folder)
    found = {}
    for name in OUTPUT:
        place = folder / name
        files = sorted(place.rglob("*")) if place.is_dir() else [place]
        found |= {f.relative_to(folder).as_posix(): f.read_bytes() for f in files if f.is_file()}
    return found
