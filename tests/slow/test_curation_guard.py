"""Pages and readers that hang, crash or eat memory: each costs itself, and the rest is whole."""

import pytest
from tests.suites.curating import curate, tiny_curation, write_pages

from nautiloid.core.files import read_json
from nautiloid.curate.reader import Limits

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LONG = " and so it goes on for long enough to pass the filter of words"


def dropped(run, name):
    stages = read_json(run.path / "manifest.json")["stages"]
    return next(stage for stage in stages if stage["name"] == name)["dropped"]


def test_every_kind_of_misbehaviour_at_once(tmp_path):
    clean = write_pages(tmp_path / "clean")
    whole = curate(tmp_path / "whole", tiny_curation(clean))
    extra = (
        "HANG",
        "DEAF",
        "CRASH",
        "ABORT",
        "EAT",
        "RAISE",
        "NEST",
        "STALL" + LONG,
        "STALL again" + LONG,
    )
    pages = write_pages(tmp_path / "pages", extra=extra)
    limits = Limits(page_s=2.0, memory_bytes=1 << 30)
    run = curate(tmp_path / "run", tiny_curation(pages, limits=limits))
    assert dropped(run, "text") == {"crash": 2, "error": 2, "memory": 1, "timeout": 2}
    assert dropped(run, "upper") == {"timeout": 2}
    ours, theirs = (read_json(r.path / "manifest.json")["subsets"]["all"] for r in (run, whole))
    assert ours == theirs


def test_a_reader_that_hangs_gives_what_it_had_read(tmp_path):
    pages = write_pages(tmp_path / "pages", extra=("READER HANGS",))
    limits = Limits(page_s=0.5)
    run = curate(tmp_path / "run", tiny_curation(pages, limits=limits))
    manifest = read_json(run.path / "manifest.json")
    assert manifest["faults"]["reader_timeout"]["count"] == 1
    # three pages and a torn line stand in front of it in its unit
    assert manifest["input"]["pages"] == 5 * 20 + 3
