"""The report of a curation: every number leads to examples, and nothing of a document is markup."""

from __future__ import annotations

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nautiloid.cli.main import main
from nautiloid.core.errors import InputError
from nautiloid.core.files import write_json, write_text
from nautiloid.curate.report import write_report
from nautiloid.curate.report_funnel import anchor, funnel


def stage(name, kind, entered, left, dropped, chars=1000):
    return {
        "name": name,
        "kind": kind,
        "documents_in": entered,
        "documents_out": left,
        "changed": 0,
        "chars_in": entered * chars,
        "chars_out": left * chars,
        "dropped": dropped,
    }


STAGES = [
    stage("read", "read", 10, 10, {}),
    {**stage("dom", "extract", 10, 9, {"empty": 1}), "chars_in": 0},
    stage("length", "stage", 9, 7, {"too_short": 2}),
    stage("minhash", "dedup", 7, 4, {"near_duplicate": 3}),
]


@pytest.fixture
def run(tmp_path):
    counts = {"documents": 4, "chars": 4000, "bytes": 4100, "tokens": None, "share": 1.0}
    manifest = {
        "name": "tiny",
        "recipe": {"kind": "curate.recipe", "name": "tiny", "seed": 0},
        "versions": {"nautiloid": "1"},
        "input": {"units": 1, "bytes": 12345, "pages": 10, "fingerprint": "ab"},
        "faults": {"truncated": {"count": 1, "lost": 2}},
        "stages": STAGES,
        "subsets": {"all": counts},
        "languages": {"en": 4},
        "licences": {"MIT": 3, "unknown": 1},
        "files": {"parquet/all/train.parquet": {"bytes": 9, "sha256": "cd", "documents": 4}},
    }
    write_json(tmp_path / "manifest.json", manifest)
    seconds = {"dom": 1.0, "length": 0.5, "minhash": 0.0}
    timing = {"seconds": seconds, "wall_s": {"units": 2.0}, "workers": 2, "executor": "local"}
    write_json(tmp_path / "timing.json", timing)
    write_json(tmp_path / "config.json", {"schema": 1, "recipe": manifest["recipe"]})
    record = {"detail": "", "id": "1", "url": "http://a.example/", "title": "<b>T</b>", "text": "x"}
    kept = {**record, "stage": "kept", "reason": "", "text": "<script>alert(1)</script>"}
    keeper = {"id": "2", "url": None, "text": "the one that stayed", "similarity": 0.91}
    dropped = [
        {**record, "stage": "length", "reason": "too_short", "detail": "characters 1 < 200"},
        {**record, "stage": "minhash", "reason": "near_duplicate", "keeper": keeper},
    ]
    for name, records in (("kept", [kept]), ("dropped", dropped)):
        lines = "".join(json.dumps(r) + "\n" for r in records)
        write_text(tmp_path / "samples" / f"{name}.jsonl", lines)
    drops = {"keeper_unit": [0, 0, 0], "keeper_row": [1, 1, 5]}
    (tmp_path / "dedup" / "0").mkdir(parents=True)
    pq.write_table(pa.table(drops), tmp_path / "dedup" / "0" / "drops.parquet")
    return tmp_path


def test_every_number_leads_to_examples(run):
    write_report(run)
    text = (run / "report.html").read_text()
    links = set(re.findall(r'href="#([^"]+)"', text))
    places = re.findall(r'id="([^"]+)"', text)
    assert links <= set(places)
    assert len(places) == len(set(places))
    for name, reason in (("dom", "empty"), ("length", "too_short"), ("minhash", "near_duplicate")):
        assert anchor(name, reason) in links
        assert anchor(name) in links


def test_documents_are_text_and_duplicates_stand_beside_what_stayed(run):
    write_report(run)
    text = (run / "report.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "the one that stayed" in text
    assert "stayed in its place, similarity 0.910" in text
    assert "default-src &#x27;none&#x27;" in text


def test_groups_of_duplicates_are_counted(run):
    write_report(run)
    text = (run / "report.html").read_text()
    rows = re.findall(r'<td class="number">(\d+)</td><td class="number">(\d+)</td>', text)
    assert ("2", "1") in rows
    assert ("3", "1") in rows


def test_the_verb_finds_the_kind_of_run(run, capsys):
    assert main(["report", str(run), "--out", str(run / "page.html"), "--title", "Mine"]) == 0
    assert "<h1>Mine</h1>" in (run / "page.html").read_text()
    (run / "timing.json").unlink()
    assert main(["report", str(run)]) == 2
    assert "no finished curation" in capsys.readouterr().err


def test_a_folder_that_is_no_curation(tmp_path):
    with pytest.raises(InputError, match="no finished curation"):
        write_report(tmp_path)


def test_the_funnel_starts_where_there_are_characters():
    drawn = funnel(STAGES, "chars")
    assert ">read<" not in drawn
    assert ">dom<" in drawn
    assert funnel([stage("read", "read", 0, 0, {})], "documents") == ""
