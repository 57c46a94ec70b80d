import json
import random
from dataclasses import replace

import numpy as np
import pytest
from tests.suites.filters import check_stage

from nautiloid.core.config import from_json, to_json
from nautiloid.core.errors import InputError
from nautiloid.core.recipes import load_recipe
from nautiloid.core.run import Run
from nautiloid.core.types import Document
from nautiloid.curate.filters.score import Score
from nautiloid.curate.quality.features import times, transposed_times, window_rows, word_hashes
from nautiloid.curate.quality.fit import fit, isotonic, measure
from nautiloid.curate.quality.heuristic import Heuristic, points
from nautiloid.curate.quality.labels import Labelled, read_labels
from nautiloid.curate.quality.linear import FeatureConfig, LinearModel, load_linear
from nautiloid.curate.quality.recipe import QualityRecipe
from nautiloid.curate.quality.scorers import Linear
from nautiloid.curate.stage import Stage

GOOD = ["theorem", "proof", "lemma", "integral", "converges", "function", "continuous"]
BAD = ["click", "buy", "login", "cookie", "discount", "subscribe", "banner"]
OTHER = [f"word{chr(97 + i)}" for i in range(26)]
SMALL = FeatureConfig(bits=12, window_words=32, max_windows=4)


def labelled(count, seed=0):
    """Texts whose label is the share of good words among the telling ones, in fifths."""
    chosen = random.Random(seed)
    items = []
    for _ in range(count):
        label = chosen.randint(0, 5)
        telling = [chosen.choice(GOOD if chosen.random() < label / 5 else BAD) for _ in range(20)]
        words = telling + chosen.choices(OTHER, k=40)
        chosen.shuffle(words)
        items.append(Labelled(" ".join(words), float(label)))
    return items


def write_labels(path, items):
    path.write_text("".join(json.dumps({"text": i.text, "label": i.label}) + "\n" for i in items))
    return str(path)


@pytest.fixture(scope="module")
def model():
    return fit(labelled(600), SMALL, (1e-2, 1e-3))


def test_a_linear_scorer_learns(model):
    items = labelled(200, seed=1)
    quality = measure(model.score([i.text for i in items]), [i.label for i in items])
    assert quality.mae < 0.45 * quality.mae_constant
    assert quality.f1 > 0.85
    good, bad = model.score([" ".join(GOOD * 4), " ".join(BAD * 4)])
    assert good > 4
    assert bad < 1


def test_training_is_deterministic(tmp_path):
    files = []
    for name in "ab":
        fit(labelled(200), SMALL, (1e-2,)).save(tmp_path / name)
        files.append({f.name: f.read_bytes() for f in (tmp_path / name).iterdir()})
    assert files[0] == files[1]
    assert set(files[0]) == {"config.json", "model.safetensors"}


def test_ridge_equals_the_closed_form():
    items = [i for i in labelled(300) if i.split == "train"]
    features = FeatureConfig(bits=8, ngrams=1, window_words=100)
    both = fit([*items, *(i for i in labelled(300) if i.split != "train")], features, (0.05,))
    x = np.zeros((len(items), 256))
    for row, item in enumerate(items):
        rows = window_rows(word_hashes(item.text), np.zeros(1, np.int64), 100, 1, 8)
        x[row, rows.columns] = rows.values
    y = np.array([i.label for i in items])
    exact = np.linalg.solve(x.T @ x + 0.05 * len(items) * np.eye(256), x.T @ (y - y.mean()))
    assert np.abs(both.weights - exact).max() < 1e-3 * np.abs(exact).max()
    assert both.bias == pytest.approx(y.mean())


def test_sparse_products_equal_dense_ones():
    rows = window_rows(word_hashes("a b c a " * 20), np.array([0, 10]), 30, 3, 9)
    dense = np.zeros((2, 512))
    for i in range(2):
        part = slice(rows.starts[i], rows.starts[i + 1])
        np.add.at(dense[i], rows.columns[part], rows.values[part])
    assert np.allclose((dense**2).sum(1), 1)
    w = np.random.default_rng(0).normal(size=512).astype(np.float32)
    assert np.allclose(times(rows, w), dense @ w, atol=1e-6)
    factors = np.array([0.5, -2.0])
    assert np.allclose(transposed_times(rows, factors, 512), dense.T @ factors)


def test_words_are_letters_digits_commands_marks_and_breaks():
    def count(text):
        return len(word_hashes(text))

    assert count("Two words, one mark") == 5
    assert count(r"\frac{12}{345}") == 7
    assert count("\u00e9t\u00e9 \u65e5\u672c") == 2
    assert count("a\n\n\nb") == 3
    assert count("") == 0
    assert word_hashes("Word 1234567")[0] == word_hashes("word 7654321")[0]
    assert list(word_hashes("x 12")) == list(word_hashes("X 99"))
    assert word_hashes("\ud800").size == 1


def test_windows_cover_long_documents(model):
    """A centre crop would see neither end; the text itself is left alone."""
    start = " ".join(GOOD * 20) + " " + " ".join(OTHER * 200)
    wide = replace(model, features=replace(SMALL, pool="max"))
    centre = replace(model, features=replace(SMALL, max_windows=1))
    assert wide.score([start])[0] > centre.score([start])[0] + 1
    document = Document("1", start)

    rated = Score().apply(document, wide)
    assert rated.text == start
    assert rated.meta["score"] == wide.score([start])[0]


def test_saved_models_score_the_same(model, tmp_path):
    model.save(tmp_path / "model")
    again = load_linear(tmp_path)
    texts = [i.text for i in labelled(20, seed=3)] + ["", "\x00" * 100, "$" * 1000]
    assert again.score(texts) == model.score(texts)
    assert all(0 <= score <= 5 for score in model.score(texts))
    stage = Score(scorer=Linear(model=str(tmp_path / "model")), min_score=3.0)
    check_stage(stage, keeps=[" ".join(GOOD * 4)], drops={"low_score": " ".join(BAD * 4)})


def test_damaged_models_are_refused(model, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_linear(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="not a linear scorer"):
        load_linear(tmp_path)
    spoilt = LinearModel(SMALL, np.full(1 << 12, np.nan, np.float32), 0.0)
    spoilt.save(tmp_path / "nan")
    with pytest.raises(InputError, match="finite float32 weights"):
        load_linear(tmp_path / "nan")
    LinearModel(SMALL, np.zeros(8, np.float32), 0.0).save(tmp_path / "small")
    with pytest.raises(InputError, match=r"4096 finite float32 weights"):
        load_linear(tmp_path / "small")
    model.save(tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="train it again"):
        load_linear(tmp_path / "cut")
    with pytest.raises(InputError, match=r"linear\.model: name the folder of a scorer; train one"):
        from_json(Stage, {"kind": "score", "scorer": {"kind": "linear"}})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "empty: write lines such as"),
        (["", "  "], "empty: write lines such as"),
        (["{"], "line 1: not valid JSON"),
        (["[1]"], "line 1: no field 'text'; it has no fields"),
        (['{"text": "a", "score": 3}'], "no field 'label'; it has text, score"),
        (['{"text": "", "label": 3}'], "line 1: text: empty: expected a text"),
        (['{"text": "a", "label": NaN}'], "line 1: label: nan: expected a number from 0 to 5"),
        (['{"text": "a", "label": 1}', '{"text": "a", "label": 5.5}'], "line 2: label: 5.5"),
        (['{"text": "a", "label": -1}'], "label: -1"),
        (['{"text": "a", "label": Infinity}'], "label: inf"),
        (['{"text": "a", "label": true}'], "label: True"),
        (['{"text": "a", "label": "3"}'], "label: 3: expected a number"),
        (['{"text": "a", "label": null}'], "label: None: expected a number"),
        ([json.dumps({"text": f"a{i}", "label": i % 6}) for i in range(9)], "9 labels: give at"),
        ([json.dumps({"text": f"a{i}", "label": 3}) for i in range(99)], "every label is 3"),
    ],
)
def test_bad_labels_are_refused(tmp_path, lines, message):
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(InputError) as error:
        read_labels((str(path),), "text", "label")
    assert message in str(error.value)


def test_missing_labels_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_labels((str(tmp_path / "none"),), "text", "label")
    with pytest.raises(InputError, match="labels: name a JSONL file"):
        read_labels((), "text", "label")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_labels((str(tmp_path / "binary"),), "text", "label")


def test_equal_texts_share_a_split():
    splits = [Labelled(i.text, 0.0).split for i in labelled(300)]
    assert splits == [i.split for i in labelled(300)]
    assert {s: splits.count(s) > 10 for s in set(splits)} == dict.fromkeys(
        ("train", "tune", "test"), True
    )


def test_isotonic_rises():
    rng = np.random.default_rng(0)
    raw = rng.normal(size=500)
    knots = isotonic(raw, np.clip(raw + rng.normal(size=500), 0, 5))
    x, y = zip(*knots, strict=True)
    assert list(x) == sorted(x)
    assert list(y) == sorted(y)
    assert len(knots) <= 64


def test_recipe(tmp_path):
    recipe = load_recipe("curate/quality", "debug")
    assert isinstance(recipe, QualityRecipe)
    assert from_json(QualityRecipe, to_json(recipe)) == recipe
    labels = write_labels(tmp_path / "labels.jsonl", labelled(400))
    recipe = replace(recipe, trial_documents=0, labels=(labels,), features=SMALL)
    run = Run.open(tmp_path / "run", recipe)
    recipe.run(run)
    facts = run.facts()
    assert facts["held_out_count"] == sum(i.split == "test" for i in labelled(400))
    assert facts["held_out_mae"] < facts["held_out_mae_constant"]
    saved = load_linear(tmp_path / "run")
    assert saved.facts
    assert saved.facts["labels_by_class"].keys() == set("012345")
    assert not saved.facts["labels_by_rules"]
    without = load_recipe("curate/quality")
    other = Run.open(tmp_path / "other", without)
    with pytest.raises(InputError, match="--labels FILE"):
        without.run(other)


def test_score_by_rules():
    page = "The sum of all the terms is in this case $a + b$, and we have it for every $n$.\n\n"
    text = "".join(page.replace("case", f"case {i}") for i in range(30))
    assert points(text)[1:] == (1.0, 1.0, 1.0, 1.0)
    check_stage(
        Score(min_score=2.5),
        keeps=[text],
        drops={"low_score": "Home\nAbout\nContact\n" * 20},
    )
    rated = Score().apply(Document("1", text), Heuristic())
    assert rated.meta["int_score"] == 5
    assert rated.meta["score"] <= 5
    assert Heuristic().score(["\x00" * 100, "$" * 500]) != []


@pytest.mark.parametrize(("score", "whole"), [(2.5, 3), (2.49, 2), (-1.0, 0), (7.0, 5), (3.5, 4)])
def test_scores_are_clipped_and_rounded(score, whole):
    class Fixed:
        def score(self, texts):
            return [score] * len(texts)

    assert Score().apply(Document("1", "x"), Fixed()).meta["int_score"] == whole


def test_a_score_that_is_no_number_is_an_error():
    class Broken:
        def score(self, texts):
            return [float("nan")]

    with pytest.raises(ValueError, match="nan"):
        Score().apply(Document("1", "x"), Broken())
