"""The first stages of the quickstart: pages of this machine, curated, measured, ready for training."""

from dataclasses import replace

import pytest

from nautiloid.core.files import read_json
from nautiloid.core.report.run_report import write_report
from nautiloid.core.run import Run
from nautiloid.recipes.quickstart import debug

pytest.importorskip("docutils", reason="installed with the extra quickstart")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    base = debug()
    few = replace(base.pages, max_pages=12)
    recipe = replace(base, pages=few, held_out=replace(base.held_out, max_pages=2))
    run = Run.open(tmp_path_factory.mktemp("quickstart") / "run", recipe)
    recipe.write_pages(run)
    recipe.run_curate(run)
    return run


def test_nearly_everything_that_the_pages_say_is_found(run):
    figures = read_json(run.path / "extraction.json")
    assert figures["words"] > 0.95
    assert figures["precision"] > 0.95
    assert figures.get("code", 1.0) > 0.9


def test_training_reads_the_shards(run):
    train, test = (list(run.recipe.text(run, split).read()) for split in ("train", "test"))
    assert 6 <= len(train) <= 12
    assert 1 <= len(test) <= 2
    assert all(sample.text for sample in (*train, *test))
    assert not {sample.text for sample in train} & {sample.text for sample in test}


def test_each_curation_has_a_report_and_the_quickstart_links_it(run):
    for split in ("train", "test"):
        assert "Funnel" in (run.path / f"curate-{split}" / "report.html").read_text()
    write_report([run.path], run.path / "report.html", title="Quickstart")
    assert 'href="curate-train/report.html"' in (run.path / "report.html").read_text()


def test_a_second_call_does_nothing(run):
    before = {path: path.stat().st_mtime_ns for path in (run.path / "pages").rglob("*")}
    run.recipe.write_pages(run)
    run.recipe.run_curate(run)
    assert {path: path.stat().st_mtime_ns for path in (run.path / "pages").rglob("*")} == before
