"""Whole runs: counts, resume, refusals, the same bytes from any number of processes."""

import fcntl
import json
import os
import threading
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.suites.curate_parts.short import Short
from tests.suites.curate_parts.upper import Upper
from tests.suites.curating import curate, output, tiny_curation, write_pages

from nautiloid.core.errors import InputError
from nautiloid.core.files import read_json, write_json
from nautiloid.core.recipes import load_recipe
from nautiloid.core.run import Run
from nautiloid.curate.executors.local import Local
from nautiloid.curate.recipe import Subset
from nautiloid.curate.shards import ShardConfig
from nautiloid.data.mixing import read_mixture_file
from nautiloid.data.sources.jsonl import Jsonl

BAD = ("CRASH", "RAISE", "NEST", "HANG", "")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return write_pages(tmp_path_factory.mktemp("pages"), extra=BAD)


@pytest.fixture(scope="module")
def finished(pages, tmp_path_factory):
    limits = replace(tiny_curation(pages).limits, page_s=1.5)
    return curate(tmp_path_factory.mktemp("run") / "one", tiny_curation(pages, limits=limits))


@pytest.fixture(scope="module")
def manifest(finished):
    return read_json(finished.path / "manifest.json")


def test_counts_of_all_stages_add_up(finished, manifest):
    stages = manifest["stages"]
    names = [stage["name"] for stage in stages]
    assert names == ["read", "text", "short", "upper", "twins", "twins-2", "short-2"]
    for stage in stages:
        dropped = sum(stage["dropped"].values())
        assert stage["documents_in"] == stage["documents_out"] + dropped, stage["name"]
    for before, after in pairwise(stages):
        assert before["documents_out"] == after["documents_in"]
    assert manifest["faults"] == {"corrupt_record": {"count": 6, "lost": 6}}
    assert stages[0]["documents_in"] == 6 * 20 + len(BAD) + 6
    assert stages[-1]["documents_out"] == manifest["subsets"]["all"]["documents"]
    assert finished.facts()["documents"] == manifest["subsets"]["all"]["documents"]
    assert manifest["licences"] == {"CC0-1.0": stages[-1]["documents_out"]}


def test_pages_that_hang_or_crash_cost_themselves_alone(manifest):
    dropped = next(s for s in manifest["stages"] if s["name"] == "text")["dropped"]
    assert dropped == {"crash": 1, "timeout": 1, "error": 2, "empty": 1}


def test_rejects_and_samples_say_what_and_why(finished, manifest):
    rejects = Counter()
    for folder in ("units", "final"):
        files = str(finished.path / folder / "*" / "dropped.jsonl.zst")
        for sample in Jsonl(paths=(files,)).read():
            rejects[sample.id] += 1
    assert sum(rejects.values()) == sum(sum(s["dropped"].values()) for s in manifest["stages"][1:])
    lines = (finished.path / "samples" / "dropped.jsonl").read_text().splitlines()
    samples = [json.loads(line) for line in lines]
    crash = next(s for s in samples if s["reason"] == "crash")
    assert (crash["id"], crash["stage"]) == ("bad-0", "text")
    assert "SIGSEGV" in crash["detail"]
    short = next(s for s in samples if s["reason"] == "short")
    assert short["detail"].endswith("words")
    assert short["text"]
    twin = next(s for s in samples if s["stage"] == "twins")
    assert twin["keeper"]["text"] == twin["text"]
    assert twin["keeper"]["id"] != twin["id"]
    counts = Counter((s["stage"], s["reason"]) for s in samples)
    assert max(counts.values()) <= 8
    kept = (finished.path / "samples" / "kept.jsonl").read_text().splitlines()
    assert len(kept) == 8


def test_shards_hold_each_document_once_and_in_order(finished, manifest):
    shards = finished.path / "shards"
    for name, entry in manifest["files"].items():
        assert sha256((shards / name).read_bytes()).hexdigest() == entry["sha256"]
    texts = {}
    for band in manifest["subsets"]["all"]["bands"]:
        files = sorted(shards.glob(f"parquet/{band}/*.parquet"))
        tables = [pq.read_table(file) for file in files]
        assert all(pq.ParquetFile(f).metadata.row_group(0).num_rows <= 7 for f in files)
        rows = [row for table in tables for row in table.to_pylist()]
        assert len(rows) == manifest["subsets"][band]["documents"]
        texts[band] = [row["text"] for row in rows]
        ids = [row["id"] for row in rows]
        assert ids == sorted(ids, key=lambda i: [int(n[1:]) for n in i.split("-")])
        lines = Jsonl(paths=(str(shards / "jsonl" / band),)).read()
        assert [sample.text for sample in lines] == texts[band]
    assert sum(map(len, texts.values())) == manifest["subsets"]["all"]["documents"]
    assert any("of-00001" not in name for name in manifest["files"])
    three, four = (manifest["subsets"][name]["documents"] for name in ("3plus", "4plus"))
    assert three == four + manifest["subsets"]["3"]["documents"]


def test_the_card_names_files_that_are_there(finished):
    card = (finished.path / "shards" / "README.md").read_text()
    patterns = [
        part
        for line in card.splitlines()
        if "path:" in line
        for part in json.loads(line.split(":", 1)[1])
    ]
    assert patterns
    for pattern in patterns:
        assert list((finished.path / "shards").glob(pattern)), pattern
    assert 'license: "cc0-1.0"' in card


def test_the_mixture_reads_the_lowest_subset(finished, manifest):
    mixture = read_mixture_file(finished.path)
    samples = [s for part in mixture.parts.values() for s in part.source.read()]
    assert len(samples) == manifest["subsets"]["3plus"]["documents"]
    assert {sample.licence for sample in samples} == {"CC0-1.0"}


def test_stopped_and_resumed_by_more_processes_gives_the_same_bytes(pages, finished, tmp_path):
    recipe = finished.recipe
    slow = replace(recipe, executor=Local(processes=2))
    run = Run.open(tmp_path / "run", slow)
    done = run.path / "units"
    watch = threading.Thread(target=stop_after, args=(run, done), daemon=True)
    watch.start()
    slow.run(run)
    watch.join()
    assert not run.is_done
    assert 1 <= len(list(done.glob("*/done.json"))) < 6
    refuses_what_is_not_the_same(run.path, recipe)
    record = read_json(run.path / "input.json")
    write_json(run.path / "input.json", {**record, "versions": {"pyarrow": "1.0"}})
    torn = next(done.glob("*/documents.parquet"))
    torn.write_bytes(torn.read_bytes()[:-1])  # what a failing disk leaves
    again = curate(tmp_path / "run", recipe)
    assert again.resumed
    assert "pyarrow 1.0" in (again.path / "log.txt").read_text()
    assert again.is_done
    assert output(again.path) == output(finished.path)


def refuses_what_is_not_the_same(folder, recipe):
    """Settings and input of the run must be those that it began with; the executor need not."""
    with pytest.raises(InputError, match="another stages"):
        Run.open(folder, replace(recipe, stages=(Upper(),)))
    with pytest.raises(InputError, match=r"another shards\.shard_bytes"):
        Run.open(folder, replace(recipe, shards=replace(recipe.shards, shard_bytes=9)))
    assert Run.open(folder, replace(recipe, executor=Local(processes=3))).resumed
    page = Path(recipe.source.paths[0]) / "part-0.jsonl"
    before = page.stat()
    os.utime(page, (1, 1))
    with pytest.raises(InputError, match=r"part-0.jsonl: changed since this run began"):
        recipe.run(Run.open(folder, recipe))
    os.utime(page, ns=(before.st_atime_ns, before.st_mtime_ns))
    more = page.with_name("part-9.jsonl")
    more.write_text("")
    with pytest.raises(InputError, match=r"part-9.jsonl: new since this run began"):
        recipe.run(Run.open(folder, recipe))
    more.unlink()


def stop_after(run, folder):
    """Set the flag that Ctrl-C sets once a unit is done."""
    while not list(folder.glob("*/done.json")):
        threading.Event().wait(0.005)
    run.should_stop.set()


def test_megatron_shards_and_token_counts(pages, tmp_path):
    from nautiloid.data.sources.megatron import Megatron
    from nautiloid.data.tokenizer import Tokenizer

    Tokenizer.train(["REEF SHELL SPIRAL"], 300).save(tmp_path / "tokenizer")
    config = ShardConfig(formats=("megatron",), tokenizer=str(tmp_path / "tokenizer"))
    fewer = replace(
        tiny_curation(pages).source, paths=(str(write_pages(tmp_path / "few", units=1)),)
    )
    run = curate(tmp_path / "run", tiny_curation(pages, source=fewer, shards=config, subsets=()))
    manifest = read_json(run.path / "manifest.json")
    tokens = [s.tokens for s in Megatron(paths=(str(run.path / "shards/megatron/all"),)).read()]
    whole = manifest["subsets"]["all"]
    assert len(tokens) == whole["documents"]
    assert all(tokens)
    assert sum(map(len, tokens)) == whole["tokens"] + len(tokens)  # one end each
    assert {ids[-1] for ids in tokens if ids} == {Tokenizer.load(tmp_path / "tokenizer").eos_ids[0]}
    assert read_mixture_file(run.path).parts["tiny-all"].source.kind == "megatron"


def test_a_folder_in_use_is_refused(pages, tmp_path):
    recipe = tiny_curation(pages)
    run = Run.open(tmp_path / "run", recipe)
    handle = os.open(run.path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(InputError, match="another process works on this run"):
        recipe.run(run)
    os.close(handle)


def test_nothing_left_says_where_it_went(tmp_path):
    recipe = tiny_curation(write_pages(tmp_path / "pages", units=1), stages=(Short(words=1000),))
    with pytest.raises(InputError, match=r"no document is left: see short: short \(20 documents\)"):
        curate(tmp_path / "run", recipe)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("formats", (), "name each of parquet"),
        ("formats", ("jsonl", "jsonl"), "name each of parquet"),
        ("formats", ("megatron",), "needs a tokenizer folder"),
        ("shard_bytes", 0, "use at least 1"),
    ],
)
def test_bad_shards_are_refused(field, value, says):
    with pytest.raises(InputError, match=says):
        ShardConfig(**{field: value})


def test_bands_follow_the_scores(pages):
    recipe = tiny_curation(pages)
    assert recipe.bands == ["below3", "3", "4plus"]
    assert [recipe.band_of(score) for score in (None, 0, 2, 3, 4, 5)] == [0, 0, 0, 1, 2, 2]
    assert [recipe.bands_of(subset) for subset in recipe.subsets] == [[1, 2], [2]]
    wide = replace(
        recipe, subsets=(Subset(name="a", min_int_score=1), Subset(name="b", min_int_score=4))
    )
    assert wide.bands == ["below1", "1to3", "4plus"]
    with pytest.raises(InputError, match="another name and another score"):
        replace(recipe, subsets=(*recipe.subsets, Subset(name="3plus", min_int_score=1)))


def test_a_class_of_a_recipe_file_is_refused(pages, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from dataclasses import dataclass, replace\n"
        "from nautiloid.curate.stage import Filter, KEEP, stage\n"
        "from tests.suites.curating import tiny_curation\n"
        "@stage('mine')\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Mine(Filter):\n"
        "    def keep(self, document):\n"
        "        return KEEP\n"
        "def recipe():\n"
        f"    return replace(tiny_curation({str(pages)!r}), stages=(Mine(),))\n"
    )
    recipe = load_recipe(str(path))
    with pytest.raises(InputError, match="Mine: workers cannot import it from a recipe"):
        recipe.run(Run.open(tmp_path / "run", recipe))
