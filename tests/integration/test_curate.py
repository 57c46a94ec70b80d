"""From pages through the shipped recipe to a model: every step with debug settings."""

import random

import pytest

from nautiloid.cli.main import main
from nautiloid.core.files import read_json
from nautiloid.core.run import load_run

PROSE = (
    *("the", "a", "of", "in", "and", "that", "with", "for", "is", "we", "have", "to", "be", "it"),
    *("sequence", "limit", "proof", "space", "number", "function", "point", "compact", "open"),
    *("field", "ring", "group", "integral", "curve", "surface", "matrix", "vector", "kernel"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    draw = random.Random(0)
    page = ""
    for number in range(24):
        sentences = [
            " ".join(draw.choices(PROSE, k=draw.randint(9, 16))).capitalize() + "."
            for _ in range(25)
        ]
        formula = f"$x_{{{number}}} = \\frac{{{number}}}{{7}}$"
        script = '<script type="text/x-mathjax-config">MathJax.Hub.Config({tex2jax: {inlineMath: [["$","$"]]}})</script>'
        paragraphs = "".join(f"<p>{s} Here {formula} holds.</p>" for s in sentences[::5])
        rest = "".join(f"<p>{' '.join(sentences[i : i + 5])}</p>" for i in range(0, 25, 5))
        page = f"<html><head><title>Page {number}</title>{script}</head><body><nav><a href='/'>Home</a></nav><main><h1>Page {number}</h1>{paragraphs}{rest}</main></body></html>"
        (folder / f"page-{number:02d}.html").write_text(page)
    (folder / "twin.html").write_text(page)
    out = tmp_path_factory.mktemp("runs") / "curate"
    command = ["curate", "curate/cc_math", "--preset", "debug", "--input", str(folder)]
    assert main([*command, "--out", str(out)]) == 0
    return out


def test_formulas_reach_the_shards(run):
    import pyarrow.parquet as pq

    manifest = read_json(run / "manifest.json")
    assert manifest["input"]["pages"] == 25
    assert manifest["subsets"]["all"]["documents"] == 24
    files = [run / "shards" / name for name in manifest["files"] if name.endswith(".parquet")]
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert len(rows) == 24
    assert all(r"\frac{" in row["text"] and "Home" not in row["text"] for row in rows)
    assert {row["language"] for row in rows} == {"en"}


def test_a_model_trains_on_the_mixture(run, tmp_path):
    out = tmp_path / "pretrain"
    command = ["pretrain", "pretrain/debug", "--preset", "debug", "--data", str(run)]
    assert main([*command, "--out", str(out)]) == 0
    done = load_run(out)
    assert done.is_done
    assert (done.model / "config.json").is_file()
    source = next(iter(done.recipe.data.parts.values())).source
    assert source.kind == "parquet"
    assert str(run) in source.paths[0]
