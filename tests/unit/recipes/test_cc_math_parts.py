"""The parts of the extraction experiment: page choice, delimiters, sources, overlap, intervals, rule."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nautiloid.core.errors import InputError
from nautiloid.core.types import Sample
from nautiloid.data.sources.jsonl import write_jsonl
from nautiloid.recipes.repro import _render, _texts
from nautiloid.recipes.repro._arms import formula_spans, plain, standard
from nautiloid.recipes.repro._pages import PageSample, PageSet, chosen_pages, fetch, formula_pages
from nautiloid.recipes.repro._rst import markdown
from nautiloid.recipes.repro._survival import survival
from nautiloid.recipes.repro._verdict import Difference, compare, contrast, difference, verdict
from nautiloid.recipes.repro.cc_math import gpu, prepare, recipe

FORMULA = r'<span class="math notranslate nohighlight">\(a_{%d} &lt; b\)</span>'


def page(formulas: int) -> str:
    text = "".join(f"<p>One {FORMULA % i} stands here.</p>" for i in range(formulas))
    return f"<html><body><h1>Page</h1>{text}{'<p>filler</p>' * 200}</body></html>"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    home = tmp_path / "cache" / "some-doc" / "html"
    home.mkdir(parents=True)
    for i in range(6):
        (home / f"{i}.html").write_text(page(6), encoding="utf-8")
    (home / "prose.html").write_text(page(0), encoding="utf-8")
    (home / "tiny.html").write_text(FORMULA % 1, encoding="utf-8")
    return tmp_path / "cache"


def test_pages_are_chosen_by_their_marks(cache: Path) -> None:
    found = [path.stem for _, path in formula_pages(cache, "some-doc")]
    assert sorted(found) == ["0", "1", "2", "3", "4", "5"]
    sets = [
        PageSet(packages=("some-doc",), per_package=2),
        PageSet(packages=("some-doc",), per_package=4),
    ]
    pages = chosen_pages(cache, sets, cache / "rendered")
    assert [id.split("/")[:2] for id in pages] == [["some-doc", str(i)] for i in range(4)]


def test_a_package_that_cannot_be_had_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    with pytest.raises(InputError, match="no some-doc, and apt-get is not there"):
        fetch(("some-doc",), tmp_path)


def test_every_arm_draws_the_same_pages(tmp_path: Path) -> None:
    def drawn(arm: str, count: int, mark: str, draw: int) -> list[str]:
        path = tmp_path / f"{arm}{draw}{mark}.jsonl.zst"
        ids = [f"p{mark}/{i}/{i}.html" for i in range(count)]
        write_jsonl(path, (Sample(id=id, source=arm, text="t") for id in ids))
        pages = PageSet(packages=("p",), per_package=80, is_rendered=bool(mark))
        source = PageSample(path=str(path), pages=pages, share=0.5, draw=draw)
        assert [s.id for s in source.read(3)] == [s.id for s in source.read()][3:]
        return [s.id.replace("+", "") for s in source.read()]

    ours = drawn("dom", 100, "", 0)
    assert 25 < len(ours) < 55
    assert all(int(id.split("/")[1]) < 80 for id in ours)
    assert drawn("lynx", 100, "", 0) == ours
    assert drawn("dom", 100, "+", 0) == ours
    assert drawn("dom", 100, "", 1) != ours


def test_delimiters_become_the_same() -> None:
    text = standard("a \\(x_1\\) b \\[\ny\n\\] and $$z$$ costs $5")
    assert text == "a $x_1$ b $$\ny\n$$ and $$\nz\n$$ costs $5"
    assert [text[a:b] for a, b in formula_spans(text)] == ["$x_1$", "$$\ny\n$$", "$$\nz\n$$"]


def test_held_out_text_has_no_other_markup() -> None:
    assert plain("## A *b*\n\nc `d` **e** $f*g*h$ * i") == "A b\n\nc d e $f*g*h$ * i"


def test_which_formulas_survive(cache: Path) -> None:
    pages = {f"{mark}/{rank}/{name}": path for mark in ("p", "p+") for rank, (name, path) in
             enumerate(formula_pages(cache, "some-doc"))}  # fmt: skip
    ids = [id for id in pages if "+" in id]
    texts = {
        "keeps": r"then ${a}_{%d}\, < b$ holds",
        "loose": "a_{%d}  < b",
        "loses": "%d",
    }
    for arm, form in texts.items():
        body = " ".join(form % i for i in range(6))
        samples = [Sample(id=id, source=arm, text=body) for id in ids]
        write_jsonl(cache / "pages" / f"{arm}.jsonl.zst", samples)
    found = survival(pages, cache, list(texts))
    assert sum(row["count"] for row in found.values()) == 36
    for row in found.values():
        assert (row["keeps"], row["loose"], row["loses"]) == (1, 1, 0)


def test_sources_become_markdown() -> None:
    source = """
.. _top:

=====
Title
=====

A :ref:`word <target>` with :math:`a < b` over
two lines [1]_ and ``code``::

    dropped = True

.. code-block:: python

   dropped()

.. note:: Kept :math:`c`.

.. math::
   :label: name

   a &= b \\\\
   c &= d

   e = f

* first
* second, see `site <http://x>`__
"""
    assert markdown(source) == (
        "## Title\n\nA word with $a < b$ over two lines  and `code`:\n\nKept $c$.\n\n"
        "$$\na &= b \\\\\nc &= d\n$$\n\n$$\ne = f\n$$\n\n* first\n* second, see site\n"
    )


def test_overlap_is_found(tmp_path: Path) -> None:
    words = " ".join(f"word{i}" for i in range(40))
    other = " ".join(f"other{i}" for i in range(40))
    path = tmp_path / "trained.jsonl"
    write_jsonl(path, [Sample(id="t", source="x", text=f"before {words} after")])
    sections = [
        Sample(id=name, source="m", text=text) for name, text in (("seen", words), ("new", other))
    ]
    assert _texts.overlaps(sections, [path]) == {"seen": 1.0, "new": 0.0}


def test_mathematics_is_dense_in_formulas() -> None:
    assert _texts.is_mathematics("If $a = b$ and $b = c$ then $a = c$.")
    assert not _texts.is_mathematics("If $a = b$ and $b = c$ then.")
    assert not _texts.is_mathematics("$a$ $b$ $c$" + " words" * 100)


@pytest.mark.parametrize("encoding", [name for name in _render.ENCODINGS if name != "text"])
def test_formulas_are_written_in_every_encoding(encoding: str) -> None:
    text = page(3)
    formulas = _render.page_formulas(text)
    assert formulas[1] == ("a_{1} < b", False)
    katex = '<span class="katex"><math x="y"><semantics><mi>a</mi><annotation encoding="t">a</annotation></semantics></math></span>'
    answers = [
        {"katex": katex, "mathjax": "<mjx-container/>"},
        {},
        {"katex": katex, "mathjax": "<mjx-container/>"},
    ]
    made = _render._rewritten(text, formulas, answers, encoding)
    assert made.count(r"\(") == 1, "what a library refused stays"
    assert ("<annotation" in made) == (encoding in ("katex", "annotated", "wikipedia"))
    assert ('type="math/tex">a_{0} < b<' in made) == (encoding == "script")
    assert len(_render.page_formulas(made)) == 1


def test_encodings_are_equally_frequent() -> None:
    names = [_render.encoding_of(f"package/{i}") for i in range(4000)]
    assert all(400 < names.count(name) < 600 for name in _render.ENCODINGS)


def scores(math: float, formulas: float = 0.0) -> dict[str, dict[str, list[float]]]:
    rows = {f"d{i}": [math * 100, 100.0, formulas * 40, 40.0] for i in range(5)}
    return {"math": rows, "code": rows, "text": rows}


def test_differences_are_paired() -> None:
    ours = [scores(1.0), scores(2.0), scores(3.0)]
    peer = [scores(1.1), scores(2.1), scores(3.1)]
    found = difference(ours, peer, "math")
    assert found.mean == pytest.approx(-0.1)
    assert found.high < -0.09, "what seeds share does not widen the interval"
    assert found.documents == (pytest.approx(-0.1), pytest.approx(-0.1))
    apart = [scores(1.0, 2.0)] * 2, [scores(1.0, 1.0)] * 2
    assert difference(*apart, "formulas").mean == pytest.approx(1.0)
    assert difference(*apart, "prose").mean == pytest.approx(-40 / 60)


def test_interval_is_that_of_student() -> None:
    peer = [scores(2.0)] * 3
    found = difference([scores(1.0), scores(2.0), scores(3.0)], peer, "math")
    assert (found.low, found.high) == (
        pytest.approx(-2.484, abs=1e-3),
        pytest.approx(2.484, abs=1e-3),
    )


@pytest.mark.parametrize(
    ("math", "code", "says"),
    [
        ((-0.2, -0.1), (-0.1, 0.01), "shape reproduced"),
        ((-0.2, 0.1), (-0.1, 0.01), "inconclusive"),
        ((-0.2, -0.1), (-0.1, 0.03), "inconclusive"),
        ((0.1, 0.2), (-0.1, 0.01), "not reproduced"),
        ((-0.2, -0.1), (0.03, 0.04), "not reproduced"),
    ],
)
def test_the_rule(math: tuple[float, float], code: tuple[float, float], says: str) -> None:
    def made(low: float, high: float) -> Difference:
        return Difference(
            mean=(low + high) / 2, low=low, high=high, by_seed=(), documents=(low, high)
        )

    good = {"math": made(-0.3, -0.2), "code": made(0, 0), "text": made(0, 0)}
    other = {"math": made(*math), "code": made(*code), "text": made(0, 0)}
    assert verdict({"lynx": good, "trafilatura": other}, 0.02) == says


def test_comparison_holds_every_figure() -> None:
    made = compare({"dom": [scores(1.0)] * 2, "lynx": [scores(1.5)] * 2}, 0.02)
    assert made["bits_per_byte"]["lynx"]["math"] == [1.5, 1.5]
    assert made["differences"]["lynx"]["code"]["mean"] == -0.5
    assert made["rule_says"] == "shape reproduced"


def test_contrast_of_two_sets_is_paired() -> None:
    less = compare({"dom": [scores(1.0), scores(2.0)], "lynx": [scores(1.1), scores(2.3)]}, 0.02)
    more = compare({"dom": [scores(1.0), scores(2.0)], "lynx": [scores(1.4), scores(2.6)]}, 0.02)
    found = contrast(more, less)["lynx"]["math"]
    assert found["mean"] == pytest.approx(-0.3)
    assert found["high"] == pytest.approx(-0.3)


def test_presets_fit_together() -> None:
    assert prepare().seeds == 0
    assert (gpu().texts, gpu().sets) == (prepare().texts, prepare().sets), "one corpus serves both"
    assert gpu().tokens > 20 * recipe().tokens
    trained = {package for pages in gpu().sets.values() for package in pages.packages}
    assert not trained & {*recipe().texts.held_out, recipe().texts.text}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seeds": 1}, "seeds: 1: use at least 2"),
        ({"jobs": 0}, "jobs: 0"),
        ({"sets": {}}, "one of them is mixed"),
        ({"weights": {"pages": 1.0}}, "name pages, text and code"),
    ],
)
def test_settings_that_cannot_work_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        replace(recipe(), **change)
