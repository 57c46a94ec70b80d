"""The hostile corpus in small: nothing good is lost, losses are counted, bounds hold."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.suites import hostile
from tests.suites.hostile import Corpus, Scale, write_hostile

MEMORY_BYTES = 2 << 30
PAGE_BYTES = 2 << 20


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_hostile(tmp_path_factory.mktemp("hostile") / "corpus", Scale())


@pytest.fixture(scope="module")
def facts(corpus: Corpus):
    root = Path(hostile.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, hostile.__file__, str(corpus.root), str(MEMORY_BYTES), str(PAGE_BYTES)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(root), str(root / "src")))},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_every_good_page_comes_out_once(corpus: Corpus, facts):
    assert facts["seen"] == dict.fromkeys(corpus.good, 1)
    assert facts["repeated_ids"] == []


def test_losses_are_counted_exactly(facts):
    found = {
        place: (len(lost), None if None in lost else sum(lost))
        for place, lost in facts["faults"].items()
    }
    if not Path("/proc/self/mem").exists():
        found["links/memory.html unreadable"] = (1, 1)
    assert found == EXPECTED


def test_bounds_hold(facts):
    assert facts["rss_bytes"] < 500 << 20
    assert facts["seconds"] < 90
    assert facts["worst"][0][1] < 20
    assert facts["dropped"].keys() <= {"empty", "not_text", "bad_notebook"}


# faults and the records known to be lost; None where damage hides how many
EXPECTED = {
    "bad.parquet unreadable": (1, None),
    "binary.jsonl.zst corrupt_record": (1, None),
    "bomb.html.gz too_large": (1, 1),
    "bomb.ipynb.gz too_large": (1, 1),
    "bomb.jsonl.zst bomb": (1, None),
    "bomb.warc.gz bad_header": (1, 1),
    "bomb.warc.gz bomb": (4, 4),
    "bomb.warc.gz too_large": (3, 3),
    "corrupt.warc.gz content_length": (1, 1),
    "corrupt.warc.gz corrupt_record": (2, 2),
    "corrupt.warc.gz junk": (1, None),
    "corrupt.warc.gz truncated": (1, 0),
    "empty.html empty": (1, 0),
    "empty.warc.gz empty": (1, 0),
    "flat.warc bad_header": (9, 9),
    "flat.warc content_length": (2, 2),
    "flat.warc junk": (1, 0),
    "flat.warc too_large": (1, 1),
    "header.warc.gz bad_header": (10, 10),
    "header.warc.gz bad_http": (1, 1),
    "header.warc.gz content_length": (2, 2),
    "header.warc.gz too_large": (1, 1),
    "junk.warc.gz corrupt_record": (1, 1),
    "junk.warc.gz junk": (2, None),
    "links/memory.html unreadable": (1, 1),
    "rows.jsonl bad_json": (6, 6),
    "rows.jsonl bad_row": (1, 1),
    "rows.jsonl missing_column": (1, 1),
    "rows.jsonl wrong_type": (1, 1),
    "rows.jsonl.gz truncated": (1, None),
    "truncated.warc.gz truncated": (1, 1),
    "zstd-bomb.warc.zst bad_header": (1, 1),
    "zstd-bomb.warc.zst content_length": (1, 1),
    "zstd.warc.zst bad_header": (1, 1),
    "zstd.warc.zst corrupt_record": (1, 1),
    "zstd.warc.zst junk": (1, None),
}
