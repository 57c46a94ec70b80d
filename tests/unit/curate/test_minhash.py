"""Near duplicates from sketches to decisions: against brute force, over splits, with a reference."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("numba")

from hypothesis import given, settings
from hypothesis import strategies as st

from nautiloid.core.config import from_json, to_json
from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.dedup import _candidates, _forest
from nautiloid.curate.dedup import _reference as plain
from nautiloid.curate.dedup._corpus import Corpus
from nautiloid.curate.dedup.dedup import Dedup
from nautiloid.curate.dedup.exact import Exact
from nautiloid.curate.dedup.minhash import MinHash, nemotron

MB = 1 << 20


def words(draw: random.Random, count: int) -> list[str]:
    return [f"{draw.getrandbits(30):x}" for _ in range(count)]


def family(draw: random.Random, name: str, copies: int, changed: float) -> list[Document]:
    base = words(draw, 120)
    found = []
    for i in range(copies):
        text = [w if draw.random() > changed else f"{draw.getrandbits(30):x}" for w in base]
        score = draw.choice([0.0, 1.5, 3.0])
        found.append(Document(f"{name}/{i:03d}", " ".join(text), meta={"score": score}))
    return found


def corpus(seed: int = 0, copies: int = 12) -> list[Document]:
    draw = random.Random(seed)
    found = [Document(f"alone/{i:03d}", " ".join(words(draw, 90))) for i in range(20)]
    for index, changed in enumerate((0.0, 0.003, 0.006, 0.009, 0.013, 0.02, 0.1)):
        found += family(draw, f"family{index}", copies, changed)
    draw.shuffle(found)
    return found


def decide(
    folder: Path, units: list[list[Document]], stage: Dedup, memory: int = 64 * MB
) -> dict[str, tuple[str, str | None, float | None]]:
    """Id of what goes -> reason, id of the keeper, similarity."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, unit in enumerate(units):
        paths.append(folder / f"{i:03d}.parquet")
        pq.write_table(stage.sketch(unit), paths[-1])
    stage.decide(paths, folder / "decisions", memory_bytes=memory)
    assert not (folder / "decisions.work").exists()
    rows = pq.read_table(folder / "decisions").to_pylist()
    assert [(r["unit"], r["row"]) for r in rows] == sorted((r["unit"], r["row"]) for r in rows)
    found = {}
    for r in rows:
        keeper = units[r["keeper_unit"]][r["keeper_row"]].id if r["keeper_unit"] >= 0 else None
        found[units[r["unit"]][r["row"]].id] = (r["reason"], keeper, r["similarity"])
    return found


def brute_force(documents: list[Document], stage: MinHash) -> dict[str, tuple[str, str, float]]:
    """All pairs by the definition, no hashing of bands."""
    sets = [set(plain.shingles(d.text.lower(), stage.shingle, stage.size)) for d in documents]
    parent = list(range(len(documents)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i in range(len(documents)):
        for j in range(i):
            if plain.jaccard(sets[i], sets[j]) >= stage.threshold:
                parent[root(i)] = root(j)
    groups: dict[int, list[int]] = {}
    for i in range(len(documents)):
        groups.setdefault(root(i), []).append(i)
    found = {}
    for group in groups.values():
        group.sort(key=lambda i: (-documents[i].meta.get("score", 0.0), documents[i].id))
        keeper = group[0]
        for i in group[1:]:
            index = plain.jaccard(sets[i], sets[keeper])
            reason = "near_duplicate" if index >= stage.threshold else "near_duplicate_transitive"
            if documents[i].text.lower() == documents[keeper].text.lower():
                reason = "exact_document"
            found[documents[i].id] = (reason, documents[keeper].id, pytest.approx(index, abs=1e-6))
    return found


@pytest.mark.parametrize(
    "stage",
    [
        MinHash(bands=60, rows=4),
        MinHash(shingle="characters", size=10, bands=60, rows=4, threshold=0.8),
    ],
)
def test_equals_brute_force_where_bands_are_many(tmp_path, stage):
    """With 60 bands of 4 rows an edge at 0.8 is missed with probability 1e-14."""
    documents = corpus(copies=7)
    expected = brute_force(documents, stage)
    assert {"exact_document", "near_duplicate"} <= {r for r, _, _ in expected.values()}
    assert decide(tmp_path, [documents], stage) == expected


@pytest.mark.parametrize("stage", [MinHash(), nemotron()])
def test_same_whatever_the_units_and_the_memory(tmp_path, stage):
    documents = corpus(1)
    whole = decide(tmp_path / "one", [documents], stage)
    assert whole
    shuffled = documents.copy()
    random.Random(3).shuffle(shuffled)
    splits = [shuffled[:7], [], shuffled[7:8], shuffled[8:]]
    assert decide(tmp_path / "four", splits, stage) == whole
    assert decide(tmp_path / "small", [documents[:40], documents[40:]], stage, 16 << 10) == whole
    again = tmp_path / "small" / "decisions"
    before = again.read_bytes()
    decide(tmp_path / "small", [documents[:40], documents[40:]], stage)
    assert again.read_bytes() == before


def test_nemotron_counts_shared_bands(tmp_path):
    draw = random.Random(5)
    base = " ".join(words(draw, 150))
    near = base.replace(base[400:403], "...", 1)
    documents = [
        Document("b", near),
        Document("a", base),
        Document("c", " ".join(words(draw, 150))),
    ]
    assert decide(tmp_path, [documents], nemotron()) == {"b": ("near_duplicate", "a", None)}


def test_chain_goes_by_transitivity(tmp_path):
    """Neighbours are edges, the ends of the chain are not."""
    draw = random.Random(6)
    base = words(draw, 200)
    documents = []
    for i in range(4):
        documents.append(Document(f"{i}", " ".join(base)))
        base = base.copy()
        base[i * 40 : i * 40 + 14] = words(draw, 14)
    found = decide(tmp_path, [documents], MinHash(bands=50, rows=4))
    assert {i: r for i, (r, _, _) in found.items()} == {
        "1": "near_duplicate", "2": "near_duplicate_transitive", "3": "near_duplicate_transitive",
    }  # fmt: skip
    assert all(keeper == "0" for _, keeper, _ in found.values())


def test_reference_is_kept_and_its_duplicates_go(tmp_path):
    documents = corpus(2)
    stage = MinHash()
    old, new = documents[:46], documents[46:]
    (tmp_path / "old").mkdir()
    pq.write_table(stage.sketch(old[:30]), tmp_path / "old" / "0.parquet")
    pq.write_table(stage.sketch(old[30:]), tmp_path / "old" / "1.parquet")
    pq.write_table(
        stage.sketch(new).select(["id"]).replace_schema_metadata(None),
        tmp_path / "old" / "x.parquet",
    )
    with_reference = replace(stage, reference=(str(tmp_path / "old"),))
    found = decide(tmp_path / "new", [new[:20], new[20:]], with_reference)
    whole = decide(tmp_path / "all", [documents], stage)
    families = {d.id.split("/")[0] for d in old}
    for document in new:
        name = document.id.split("/")[0]
        if name in ("family0", "family1"):  # close enough to be one component whatever is missing
            assert name in families
            assert found[document.id][1] is None
        if document.id in whole:
            assert document.id in found
        if name == "alone":
            assert document.id not in found
    same = decide(tmp_path / "same", [old], with_reference)
    assert {d.id for d in old} == set(same)
    assert {r for r, _, _ in same.values()} == {"exact_document"} or all(
        keeper is None for _, keeper, _ in same.values()
    )


def test_sketches_of_other_settings_are_refused(tmp_path):
    documents = corpus()[:3]
    path = tmp_path / "0.parquet"
    pq.write_table(MinHash(seed=1).sketch(documents), path)
    with pytest.raises(InputError, match="seed 1"):
        MinHash().decide([path], tmp_path / "out", memory_bytes=MB)
    (tmp_path / "empty").mkdir()
    pq.write_table(Exact().sketch(documents), tmp_path / "empty" / "other.parquet")
    with pytest.raises(InputError, match="reference"):
        MinHash(seed=1, reference=(str(tmp_path / "empty"),)).decide(
            [path], tmp_path / "out", memory_bytes=MB
        )
    path.write_bytes(b"not parquet")
    with pytest.raises(InputError, match="not readable"):
        MinHash().decide([path], tmp_path / "out", memory_bytes=MB)


@pytest.mark.parametrize("stage", [MinHash(), nemotron(), MinHash(bands=1, rows=1)])
def test_degenerate_documents(tmp_path, stage):
    texts = [
        "",
        " \n",
        "",
        "a",
        "A ",
        "b",
        "?!",
        "?!",
        "\x00\x00",
        "\ud800",
        "x" * 50_000,
        "x" * 50_000 + " ",
    ]
    documents = [Document(f"{i:02d}", t) for i, t in enumerate(texts)]
    found = decide(tmp_path, [documents], stage)
    exact = {i: k for i, (r, k, _) in found.items() if r == "exact_document"}
    assert exact == {"01": "00", "02": "00", "04": "03", "07": "06", "08": "00", "11": "10"}
    if stage.threshold is not None:
        assert set(found) == set(exact)
    assert decide(tmp_path / "none", [], stage) == {}
    assert decide(tmp_path / "zero", [[], []], stage) == {}
    assert stage.sketch(()).schema == stage.sketch(documents).schema


def test_quality_then_id_decides(tmp_path):
    text = " ".join(words(random.Random(1), 60))
    scores = {"e": 1, "b": 2.5, "a": 2.5, "c": float("nan"), "d": -1, "f": "no number"}
    documents = [Document(i, text, meta={"score": s}) for i, s in scores.items()]
    found = decide(tmp_path, [documents], MinHash())
    assert set(found) == set("bcdef")
    assert all(keeper == "a" for _, keeper, _ in found.values())


def test_rank_is_the_order_of_reference_quality_and_id(tmp_path):
    draw = random.Random(0)
    stage = MinHash(bands=1, rows=1, threshold=None)
    documents = [
        Document(f"{draw.choice(['', 'p', 'pp'])}{draw.getrandbits(12):x}/{i}", "t", meta={"score": draw.choice([-2, 0, 0.5, 4])})
        for i in range(500)
    ]  # fmt: skip
    pq.write_table(stage.sketch(documents[:300]), tmp_path / "0.parquet")
    pq.write_table(stage.sketch(documents[300:]), tmp_path / "1.parquet")
    (tmp_path / "r").mkdir()
    (tmp_path / "1.parquet").rename(tmp_path / "r" / "1.parquet")
    opened = Corpus.open([tmp_path / "0.parquet"], [str(tmp_path / "r")], stage._settings())
    expected = sorted(
        range(500), key=lambda i: (i < 300, -documents[i].meta["score"], documents[i].id)
    )
    for memory in (1 << 30, 8 << 10):
        rank = np.zeros(500, np.int32)
        opened.rank(np.ones(500, bool), rank, memory)
        assert np.argsort(rank).tolist() == expected


def test_a_huge_bucket_stays_linear(tmp_path):
    """All documents share all bands: five pairs each, and all of them are connected."""
    rows = np.zeros((10_000, 4), np.uint64)
    rows[:, 2] = np.arange(10_000)
    rows[:, 3] = np.random.default_rng(0).permutation(10_000)
    count = _candidates._pairs(rows, _candidates.ALL_PAIRS, _candidates.NEIGHBOURS, None)
    assert count < 5 * 10_000
    draw = random.Random(8)
    base = words(draw, 150)
    documents = [
        Document(f"{i:05d}", " ".join([*base, str(i % 1_500)])) for i in range(3_000)
    ]  # fmt: skip
    found = decide(tmp_path, [documents], MinHash(), 4 * MB)
    assert set(found) == {d.id for d in documents[1:]}
    assert sum(r == "exact_document" for r, _, _ in found.values()) == 1
    assert sum(r == "near_duplicate" for r, _, _ in found.values()) == 2_998


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=60),
    st.randoms(),
)
def test_components_are_those_of_the_edges(count, edges, draw):
    edges = [(a % count, b % count) for a, b in edges]
    component = list(range(count))
    for a, b in edges:
        old, new = component[a], component[b]
        component = [new if c == old else c for c in component]
    expected = [min(j for j in range(count) if component[j] == component[i]) for i in range(count)]
    shuffled = edges.copy()
    draw.shuffle(shuffled)
    for order in (edges, shuffled):
        parent = _forest.forest(count)
        _forest.unite_all(parent, np.array(order, np.uint64).reshape(-1, 2))
        _forest.flatten(parent)
        assert parent.tolist() == expected
    rank = np.array(draw.sample(range(count), count), np.int32)
    best = np.empty_like(parent)
    _forest.keepers(parent, rank, best)
    for i in range(count):
        members = [j for j in range(count) if expected[j] == expected[i]]
        assert best[parent[i]] == min(members, key=lambda j: rank[j])


def test_settings_travel_as_json():
    stage = nemotron()
    assert from_json(Dedup, to_json(stage)) == stage
    for bad in ({"size": 0}, {"bands": 101}, {"rows": 0}, {"threshold": 1.5}, {"seed": -1}):
        with pytest.raises(InputError, match=next(iter(bad))):
            MinHash(**bad)
