"""The hostile corpus in full size through the whole pipeline, its workers under guard."""

import re
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.suites.curating import curate
from tests.suites.hostile import FULL, write_hostile

from nautiloid.core.files import read_json
from nautiloid.curate.executors.local import Local
from nautiloid.curate.extract.dom import Dom
from nautiloid.curate.reader import Limits
from nautiloid.curate.readers.files import Files
from nautiloid.curate.recipe import CurateRecipe
from nautiloid.curate.shards import ShardConfig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_nothing_good_is_lost(tmp_path: Path):
    corpus = write_hostile(tmp_path / "corpus", FULL)
    recipe = CurateRecipe(
        name="hostile",
        source=Files(paths=(str(corpus.root),)),
        extractor=Dom(),
        shards=ShardConfig(formats=("parquet",)),
        limits=Limits(page_s=20.0, memory_bytes=3 << 30),
        executor=Local(processes=1),
    )
    run = curate(tmp_path / "run", recipe)
    seen: Counter[str] = Counter()
    for path in sorted(run.path.rglob("shards/**/*.parquet")):
        for text in pq.read_table(path, columns=["text"])["text"].to_pylist():
            seen.update(re.findall(r"good-[\w-]+-\d{4}", text))
    assert seen == dict.fromkeys(corpus.good, 1)
    manifest = read_json(run.path / "manifest.json")
    dropped = next(s for s in manifest["stages"] if s["kind"] == "extract")["dropped"]
    assert dropped.keys() <= {"empty", "not_text", "bad_notebook", "timeout", "memory"}
    assert {"bomb", "too_large", "corrupt_record", "truncated"} <= manifest["faults"].keys()
