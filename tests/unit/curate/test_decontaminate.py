"""Decontamination: what shares words or meaning with a benchmark is found and told."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

pytest.importorskip("numba")

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.filters._benchmarks import benchmark_items
from nautiloid.curate.filters.decontaminate_embedding import DecontaminateEmbedding
from nautiloid.curate.filters.decontaminate_ngram import DecontaminateNgram
from nautiloid.curate.stage import Dropped

QUESTION = (
    "A farmer has 12 hens and every hen lays 3 eggs a day; how many eggs does the farmer "
    "collect in 4 weeks of 7 days?"
)
OTHER = "Let $f(x) = x^2 + 3x$ and let g be its derivative; find the sum of all zeros of g on the reals."


@pytest.fixture
def benchmark(tmp_path):
    path = tmp_path / "tasks.jsonl"
    rows = [
        {"question": OTHER, "answer": "-3/2"},
        {"question": QUESTION, "answer": "1008", "id": 7},
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


@pytest.mark.parametrize("size", [9, 12, 13, 14])
@pytest.mark.parametrize(
    "text",
    [
        QUESTION,
        f"Before it. {QUESTION.upper()} After it.",
        QUESTION.replace(" ", "\n\n").replace(";", " --- "),
        "Quoted: " + QUESTION.replace("has 12", "has **12**"),
    ],
)
def test_shared_runs_are_found(benchmark, size, text):
    stage = DecontaminateNgram(benchmarks=(benchmark,), size=size)
    with stage.open() as tools:
        found = stage.apply(Document("d", text), tools)
    assert isinstance(found, Dropped)
    assert found.reason == "contaminated"
    assert found.detail.startswith("tasks.jsonl:2: ")
    assert "a farmer has 12 hens and every hen lays" in found.detail


def test_the_length_of_a_run_decides(benchmark):
    words = QUESTION.split()
    for size, shared, is_found in ((13, 12, False), (13, 13, True), (9, 8, False), (9, 9, True)):
        stage = DecontaminateNgram(benchmarks=(benchmark,), size=size)
        text = f"other words first {' '.join(words[2 : 2 + shared])} and then other words"
        with stage.open() as tools:
            assert isinstance(stage.apply(Document("d", text), tools), Dropped) == is_found
    more = DecontaminateNgram(benchmarks=(benchmark,), size=9, least_runs=2)
    with more.open() as tools:
        assert not isinstance(more.apply(Document("d", " ".join(words[:9])), tools), Dropped)
        assert isinstance(more.apply(Document("d", " ".join(words[:10])), tools), Dropped)


def test_passage_alone_is_removed(benchmark):
    keep = ["# Title", "Some prose that stays. " * 20, "", "| a | b |", "The end, which stays too."]
    lines = [*keep[:2], *QUESTION.split("; "), *keep[2:]]
    stage = DecontaminateNgram(benchmarks=(benchmark,), action="passage")
    with stage.open() as tools:
        found = stage.apply(Document("d", "\n".join(lines), meta={"url": "u"}), tools)
        clean = stage.apply(found, tools)
        short = stage.apply(Document("e", QUESTION + "\nonly a few words left"), tools)
    assert found.text == "\n".join(keep)
    assert found.meta["url"] == "u"
    assert [d.split(": ")[0] for d in found.meta["contamination"]] == ["tasks.jsonl:2"]
    assert clean is found
    assert isinstance(short, Dropped)
    assert short.detail.startswith("5 words without tasks.jsonl:2")


def test_words_of_lines_are_those_of_the_text(benchmark, tmp_path):
    """Line and text are folded and cut alike, whatever stands in them."""
    odd = ["École", "ΣΣ", "中文", "a\xadb", "\u200b", "café", "ﬁ", "İ", "x_y", "5", "000", "�"]
    path = tmp_path / "odd.txt"
    path.write_text(" ".join(odd[:-1]), encoding="utf-8")
    stage = DecontaminateNgram(benchmarks=(str(path),), size=6, action="passage", least_words=0)
    with stage.open() as tools:
        found = stage.apply(Document("d", "one\n" + "\n".join(odd) + "\ntwo"), tools)
    assert found.text == f"one\n\u200b\n{odd[-1]}\ntwo"


def test_short_items_are_told(benchmark, caplog):
    with caplog.at_level(logging.WARNING):
        stage = DecontaminateNgram(benchmarks=(benchmark,), fields=("answer",))
        with stage.open() as tools:
            document = Document("d", QUESTION)
            assert stage.apply(document, tools) is document
    assert "2 of 2 benchmark items" in caplog.text


def test_every_kind_of_file(tmp_path):
    rows = [{"q": "first", "n": 3, "choices": ["a", {"b": "c"}]}, {"q": None}, {"q": "second"}]
    lines = "".join(json.dumps(r) + "\n\n" for r in rows)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "c.jsonl.zst").write_bytes(zstandard.compress(lines.encode()))
    (tmp_path / "d.txt").write_text("first\nline\n\n\nsecond\n")
    pq.write_table(pa.table({"q": ["first", "second"], "c": [["a"], []]}), tmp_path / "e.parquet")
    (tmp_path / "README").write_text("not a benchmark")
    found = {(i.place, i.text.strip()) for i in benchmark_items([str(tmp_path)], ())}
    full = "first\na\nc"
    assert found == {
        *((f"{n}:{k}", t) for n in ("a.jsonl", "b.jsonl.gz", "c.jsonl.zst") for k, t in ((1, full), (3, "second"))),
        ("d.txt:1", "first\nline"), ("d.txt:2", "second"),
        ("e.parquet:1", "first\na"), ("e.parquet:2", "second"),
    }  # fmt: skip
    only = [i.text for i in benchmark_items([str(tmp_path / "a.jsonl")], ("q",))]
    assert only == ["first", "second"]


def test_bad_files_are_named(tmp_path, benchmark):
    (tmp_path / "bad.jsonl").write_text('{"a": ')
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    (tmp_path / "bad.parquet").write_bytes(b"no")
    (tmp_path / "bad.jsonl.gz").write_bytes(gzip.compress(b'{"a": "b"}\n')[:-6])
    (tmp_path / "bad.jsonl.zst").write_bytes(b"no")
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe\xfa")
    (tmp_path / "x.bin").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name in (
        "bad.jsonl",
        "deep.jsonl",
        "bad.parquet",
        "bad.jsonl.gz",
        "bad.jsonl.zst",
        "latin.txt",
        "x.bin",
        "empty",
        "none.txt",
    ):
        with pytest.raises(InputError, match=name):
            list(benchmark_items([str(tmp_path / name)], ()))
    with pytest.raises(InputError, match="no text in task"):
        list(benchmark_items([benchmark], ("task",)))
    with pytest.raises(InputError, match="benchmarks"):
        DecontaminateNgram()


@dataclass(frozen=True, kw_only=True)
class Bag:
    """Embeds by counting letters: reordered words have the same place."""

    batch_size: int = 3
    calls: tuple = ()

    @contextlib.contextmanager
    def open(self):
        yield self

    def embed(self, texts):
        assert 0 < len(texts) <= self.batch_size
        return [
            [text.lower().count(c) + 1e-6 for c in "abcdefghijklmnopqrstuvwxyz"] for text in texts
        ]


def test_a_reordered_question_is_near(benchmark):
    stage = DecontaminateEmbedding(
        embedder=Bag(),
        benchmarks=(benchmark,),
        fields=("question",),
        piece_words=24,
        max_cosine=0.97,
    )
    reworded = " ".join(reversed(QUESTION.split()))
    far = " ".join(["zebra quiz jazz puzzle fizz buzz vivid"] * 20)
    documents = [
        Document("near", f"{far} {reworded} {far}"), Document("far", far), Document("empty", ""),
        Document("short", "jazz"), Document("same", QUESTION),
    ]  # fmt: skip
    with stage.open() as tools:
        found = stage.apply_batch(documents, tools)
        alone = [stage.apply(d, tools) for d in documents]
    assert [isinstance(f, Dropped) for f in found] == [True, False, False, False, True]
    assert found == alone
    assert found[0].reason == "contaminated"
    assert found[0].detail.startswith("tasks.jsonl:2: cosine 0.9")
    assert "A farmer has 12 hens" in found[0].detail


def test_embedding_settings_are_checked(benchmark):
    for settings, name in (
        ({}, "embedder"),
        ({"embedder": Bag()}, "benchmarks"),
        ({"embedder": Bag(), "benchmarks": (benchmark,), "max_cosine": 2.0}, "max_cosine"),
        ({"embedder": Bag(), "benchmarks": (benchmark,), "piece_words": 1}, "piece_words"),
    ):
        with pytest.raises(InputError, match=name):
            DecontaminateEmbedding(**settings)
