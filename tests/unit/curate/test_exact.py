"""Equal texts, addresses and lines: what goes, what stays, whatever the units."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

pytest.importorskip("numba")

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.dedup._address import canonical
from nautiloid.curate.dedup._lines import line_hashes
from nautiloid.curate.dedup.exact import Exact


def decide(folder: Path, units, stage: Exact, memory: int = 1 << 26) -> dict:
    """Id -> (reason, keeper's id or None, lines or None)."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, unit in enumerate(units):
        paths.append(folder / f"{i}.parquet")
        pq.write_table(stage.sketch(unit), paths[-1])
    stage.decide(paths, folder / "out", memory_bytes=memory)
    assert not (folder / "out.work").exists()
    rows = pq.read_table(folder / "out").to_pylist()
    assert [(r["unit"], r["row"]) for r in rows] == sorted((r["unit"], r["row"]) for r in rows)
    found = {}
    for r in rows:
        is_known = r["keeper_unit"] is not None and r["keeper_unit"] >= 0
        keeper = units[r["keeper_unit"]][r["keeper_row"]].id if is_known else r["keeper_unit"]
        found[units[r["unit"]][r["row"]].id] = (r["reason"], keeper, r["lines"])
    return found


@pytest.mark.parametrize(
    ("text", "equal"), [("as_is", "a"), ("spaces", "ab"), ("words", "abcd"), (None, "")]
)
def test_text_is_compared_as_chosen(tmp_path, text, equal):
    texts = {"a": "One, two.", "b": " One,\n two.", "c": "one two", "d": "ONE - TWO!", "e": "other"}
    documents = [Document(i, t) for i, t in texts.items()] + [Document("z", "One, two.")]
    stage = Exact(text=text, url=True)
    found = decide(tmp_path, [documents[:2], documents[2:]], stage)
    expected = dict.fromkeys(equal[1:], ("exact_document", "a", None))
    assert found == (expected | {"z": ("exact_document", "a", None)} if text else {})


def test_address_counts_among_what_texts_leave(tmp_path):
    documents = [
        Document("a", "same", meta={"url": "http://x.org/1", "score": 1}),
        Document("b", "same", meta={"url": "http://x.org/2", "score": 2}),
        Document("c", "third", meta={"url": "https://www.x.org/1#top"}),
        Document("d", "fourth", meta={"url": "https://x.org/2/", "score": 1}),
        Document("e", "fifth"),
        Document("f", "sixth", meta={"url": 7}),
    ]
    found = decide(tmp_path, [documents], Exact(url=True))
    assert found == {"a": ("exact_document", "b", None), "d": ("exact_url", "b", None)}


def test_canonical_addresses():
    same = [
        "http://example.org/a?x=1&y=2", "https://EXAMPLE.org:443/a/?y=2&x=1",
        "http://www.example.org:80/a?x=1&utm_medium=m&y=2&fbclid=3#part",
        "http://user@example.org./a;jsessionid=99?x=1&y=2",
    ]  # fmt: skip
    assert {canonical(u) for u in same} == {"example.org/a?x=1&y=2"}
    other = [
        "http://example.org/A?x=1&y=2",
        "http://example.org:8080/a?x=1&y=2",
        "http://example.org/a",
    ]
    assert len({canonical(u) for u in [same[0], *other]}) == 4
    for odd in (
        "",
        "no address",
        "http://[::1",
        "http://x:99999999/",
        "x?" + "&" * 5000,
        "http://x/?" + "a&" * 999,
    ):
        assert canonical(odd) == odd


def line_corpus() -> list[Document]:
    draw = random.Random(4)
    found = []
    for i in range(120):
        lines = [f"line {draw.randint(0, 40)} of the shared stock" for _ in range(6)]
        lines += [f"own line {i} that nobody else has", "", "short"]
        draw.shuffle(lines)
        found.append(Document(f"{i:03d}", "\n".join(lines), meta={"score": draw.choice([0, 1])}))
    return found


def test_lines_stay_in_the_first_document_only(tmp_path):
    documents = line_corpus()
    where = defaultdict(list)
    for document in documents:
        for line in dict.fromkeys(document.text.split("\n")):
            where[line].append(document)
    expected = {}
    for document in documents:
        gone = []
        for i, line in enumerate(document.text.split("\n")):
            first = min(where[line], key=lambda d: (-d.meta["score"], d.id))
            if len(line) >= 20 and len(where[line]) > 15 and first is not document:
                gone.append(i)
        if gone:
            expected[document.id] = ("repeated_line", None, gone)
    assert 20 < len(expected) < 120
    stage = Exact(text=None, line_documents=15)
    assert decide(tmp_path / "one", [documents], stage) == expected
    random.Random(1).shuffle(documents)
    split = [documents[:50], [], documents[50:]]
    assert decide(tmp_path / "split", split, stage, 4 << 10) == expected


def test_copies_of_a_document_do_not_make_its_lines_frequent(tmp_path):
    text = "a line of more than twenty characters\nanother line of the same kind"
    documents = [Document(f"{i}", text) for i in range(9)]
    found = decide(tmp_path, [documents], Exact(line_documents=2))
    assert {r for r, _, _ in found.values()} == {"exact_document"}
    assert "0" not in found


def test_lines_of_code_and_formulas_are_left_alone():
    text = "```python\nreturn the_same_long_line_of_code\n```\nA plain line of the document.\n$$\n" \
        "\\int_0^1 f(x) dx = 1 + 1 + 1\n$$\n$$ x = y + z + 1 + 2 + 3 $$\nThe last line of this document."  # fmt: skip
    assert [h != 0 for h in line_hashes(text, 20)] == [False] * 3 + [True] + [False] * 4 + [True]


def test_reference_keeps_what_it_has(tmp_path):
    stage = Exact(line_documents=1)
    old = [Document("z", "text of old\na common line of both documents")]
    (tmp_path / "old").mkdir()
    pq.write_table(stage.sketch(old), tmp_path / "old" / "0.parquet")
    new = [Document("a", old[0].text), Document("b", "new text\na common line of both documents")]
    stage = Exact(line_documents=1, reference=(str(tmp_path / "old"),))
    found = decide(tmp_path / "new", [new], stage)
    assert found == {"a": ("exact_document", -1, None), "b": ("repeated_line", None, [1])}


def test_nothing_to_compare_is_refused(tmp_path):
    with pytest.raises(InputError, match="compare texts"):
        Exact(text=None)
    with pytest.raises(InputError, match="line_documents"):
        Exact(line_documents=0)
    for stage in (Exact(), Exact(url=True, line_documents=3)):
        assert decide(tmp_path / "none", [[], []], stage) == {}
        assert stage.sketch(()).schema == stage.sketch([Document("a", "\ud800")]).schema
