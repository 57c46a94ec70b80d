"""Items through steps: order, batches, faults, late pages, samples."""

import signal
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.suites.curate_parts.short import Short
from tests.suites.curate_parts.upper import Upper

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.decide import renumbered
from nautiloid.curate.dedup.dedup import DECISIONS
from nautiloid.curate.finish import without_lines
from nautiloid.curate.flow import Flow, Step, Tally, stage_step, step_names
from nautiloid.curate.heartbeat import SIZE_BYTES, Heartbeat, Phase
from nautiloid.curate.reservoir import Samples, sample_of
from nautiloid.curate.shards import Cuts
from nautiloid.curate.store import compact, result_facts, result_folder


@pytest.fixture
def heartbeat():
    with tempfile.TemporaryFile() as file:
        file.truncate(SIZE_BYTES)
        yield Heartbeat(file.fileno())


def run(heartbeat, steps, texts, alone=()):
    """What came through and what did not, as ordinals with texts and reasons."""
    kept, gone = [], []
    flow = Flow(
        steps,
        heartbeat,
        lambda ordinal, document: kept.append((ordinal, document.text)),
        lambda ordinal, stage, dropped, item: gone.append((ordinal, stage, dropped.reason)),
        frozenset(alone),
    )
    for ordinal, text in enumerate(texts):
        flow.feed(ordinal, Document(str(ordinal), text))
    flow.finish()
    return kept, gone


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("alone", [(), (0,), (2, 3), (6,)])
def test_batches_change_neither_order_nor_result(heartbeat, size, alone):
    texts = [f"w{n} " * (n % 4) for n in range(7)]
    steps = [
        stage_step(Upper(size=size), "upper", "stage", None),
        stage_step(Short(words=1), "short", "stage", None),
        stage_step(Upper(size=2), "upper-2", "stage", None),
    ]
    kept, gone = run(heartbeat, steps, texts, alone)
    assert kept == [(n, texts[n].upper()) for n in range(7) if n % 4]
    assert gone == [(n, "short", "short") for n in (0, 4)]
    assert [step.tally.documents_in for step in steps] == [7, 7, 5]
    assert steps[0].tally.changed == 5


def fussy(document):
    match document.text:
        case "bad":
            raise ZeroDivisionError("by zero")
        case "big":
            raise MemoryError
        case "setting":
            raise InputError("field", 1, "mend it")
        case "surrogate":
            return Document(document.id, "a \ud800 b")
    return document


def test_a_fault_costs_its_document_alone(heartbeat):
    def batch(documents):
        return [fussy(document) for document in documents]

    for size in (1, 3):
        steps = [Step(Tally("fussy", "stage"), fussy, batch, size)]
        kept, gone = run(heartbeat, steps, ["one", "bad", "big", "surrogate", "two"])
        assert kept == [(0, "one"), (3, "a ? b"), (4, "two")]
        assert gone == [(1, "fussy", "error"), (2, "fussy", "memory")]
        with pytest.raises(InputError, match="mend it"):
            run(heartbeat, steps, ["setting"])


@pytest.mark.parametrize("size", [1, 2])
def test_a_late_page_is_given_up_where_it_is(heartbeat, size):
    def slow(document):
        while document.text == "slow":
            heartbeat.call_late(heartbeat.beat)
            flow.interrupt()
            time.sleep(0.001)
        return document

    step = Step(Tally("slow", "stage"), slow, lambda ds: [slow(d) for d in ds], size)
    kept, gone = [], []
    flow = Flow(
        [step],
        heartbeat,
        lambda ordinal, document: kept.append(ordinal),
        lambda ordinal, stage, dropped, item: gone.append((ordinal, dropped.reason)),
    )
    for ordinal, text in enumerate(["a", "slow", "b", "c"]):
        flow.feed(ordinal, Document(str(ordinal), text))
    flow.finish()
    assert (kept, gone) == ([0, 2, 3], [(1, "timeout")])
    flow.interrupt()  # nothing is in work: nothing happens


def test_a_signal_ends_a_loop(heartbeat):
    """As the guard does it, with a real signal."""

    def endless(document):
        while True:
            pass

    gone = []
    flow = Flow(
        [Step(Tally("endless", "stage"), endless)],
        heartbeat,
        lambda ordinal, document: None,
        lambda ordinal, stage, dropped, item: gone.append(dropped.reason),
    )
    former = signal.signal(signal.SIGALRM, lambda number, frame: flow.interrupt())
    try:
        heartbeat.call_late(heartbeat.beat + 1)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        flow.feed(0, Document("0", "text"))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    assert gone == ["timeout"]


def test_heartbeats_tell_what_is_done(heartbeat):
    heartbeat.enter(Phase.PAGE, 3, 5, id="page \u00e9")
    heartbeat.step(2, patience_s=1.5)
    heartbeat.step(3, patience_s=0.5)
    heartbeat.count(items=2, kept=1)
    assert (heartbeat.phase, heartbeat.items, heartbeat.at_step) == (Phase.PAGE, range(3, 6), 3)
    assert (heartbeat.patience_s, heartbeat.id) == (2.0, "page \u00e9")
    assert heartbeat.counts == (2, 1, 0)
    heartbeat.enter(Phase.READ, 6, id="x" * 10_000)
    assert (heartbeat.patience_s, heartbeat.at_step, len(heartbeat.items)) == (0.0, 0, 1)
    assert set(heartbeat.id) == {"x"}


def test_samples_are_those_of_the_set():
    documents = [Document(str(n), f"text {n}") for n in range(100)]
    whole, first, second = Samples(5), Samples(5), Samples(5)
    for n, document in enumerate(documents):
        record = sample_of(document, "stage", f"reason {n % 2}")
        whole.add(record)
        (first if n < 30 else second).add(record)
    merged = Samples(5)
    for record in [*second.records(), *first.records()]:
        merged.add(record)
    assert merged.records() == whole.records()
    assert len(whole.records()) == 10
    assert not whole.wants("stage", "reason 0", documents[0].id) or whole.wants("other", "", "x")


def test_steps_of_one_kind_are_told_apart():
    assert step_names([Short(), Upper(), Short()], ["read", "upper"]) == [
        "short",
        "upper-2",
        "short-2",
    ]


def test_lines_go_and_rows_are_those_of_the_units():
    document = Document("a", "zero\none\ntwo", meta={"score": 1})
    assert without_lines(document, frozenset({0, 2})).text == "one"
    rows = [
        {"unit": 0, "row": 1, "reason": "exact_document", "keeper_unit": 1, "keeper_row": 0},
        {"unit": 1, "row": 0, "reason": "repeated_line", "lines": [3]},
        {"unit": 1, "row": 1, "reason": "near_duplicate", "keeper_unit": -1, "keeper_row": -1},
    ]
    table = pa.Table.from_pylist(rows, schema=DECISIONS)
    found = renumbered(table, [np.array([2, 5]), np.array([4, 7])])
    assert found.schema == DECISIONS
    assert found["row"].to_pylist() == [5, 4, 7]
    assert found["keeper_row"].to_pylist() == [4, None, -1]


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([[3, 3, 3, 3]], [[(0, 0, 2)], [(0, 2, 4)]]),
        ([[3], [3, 9], [1]], [[(0, 0, 1), (1, 0, 1)], [(1, 1, 2)], [(2, 0, 1)]]),
        ([[], [1], []], [[(1, 0, 1)]]),
        ([[], []], []),
    ],
)
def test_shards_are_cut_by_size_across_units(sizes, groups):
    cuts = Cuts(6)
    for unit, found in enumerate(sizes):
        cuts.add(unit, np.arange(len(found)), np.array(found, dtype=np.int64))
    assert cuts.close() == groups


def test_a_result_is_whole_or_not_there(tmp_path):
    with result_folder(tmp_path / "one", lambda: {"count": 3}) as folder:
        pq.write_table(pa.table({"a": [1]}), folder / "a.parquet")
    assert (result_facts(tmp_path / "one") or {})["count"] == 3
    with pytest.raises(ZeroDivisionError), result_folder(tmp_path / "two", dict):
        fussy(Document("0", "bad"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one"]
    with (tmp_path / "one" / "a.parquet").open("ab") as file:
        file.write(b"!")
    assert result_facts(tmp_path / "one") is None
    assert not (tmp_path / "one").exists()


def test_equal_values_have_equal_bytes():
    assert compact({"b": 1, "a": "\u00e9"}) == compact({"a": "\u00e9", "b": 1})
    assert compact("\ud800") == '"\\ud800"'
