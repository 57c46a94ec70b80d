import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from nautiloid.core.config import from_json, to_json
from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.page import Fault, Page
from nautiloid.curate.reader import Item, Limits, Reader
from nautiloid.curate.readers import _files
from nautiloid.curate.readers._rows import Columns
from nautiloid.curate.readers.files import Files
from nautiloid.curate.readers.html import Html
from nautiloid.curate.readers.jsonl import Jsonl
from nautiloid.curate.readers.notebook import Notebook
from nautiloid.curate.readers.parquet import Parquet

LIMITS = Limits()


def items(reader: Reader, limits: Limits = LIMITS) -> list[Item]:
    return [item for unit in reader.units() for item in reader.read(unit, limits)]


def faults(found: list[Item]) -> list[tuple[str, str]]:
    return [(i.reason, i.place) for i in found if isinstance(i, Fault)]


def texts(found: list[Item]) -> list[str]:
    return [i.text for i in found if isinstance(i, Document)]


def write(path: Path, rows: list[Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstandard.compress(data)
    path.write_bytes(data)
    return str(path)


def notebook(*cells: dict[str, Any]) -> dict[str, Any]:
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)}


def test_html_folder(tmp_path: Path):
    for name in ("b/x.html", "a.htm", "c.xhtml", "b/.hidden.html", ".git/y.html", "z.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"<p>{name}")
    (tmp_path / "d.html.gz").write_bytes(gzip.compress(b"<p>d"))
    rules = tmp_path / "rules.json"
    rules.write_text('{"b/**": "CC0-1.0", "*.htm": "MIT"}')
    reader = Html(
        paths=(str(tmp_path),), licence="X", licences=str(rules), base_url="https://e.org/"
    )
    pages = [i for i in items(reader) if isinstance(i, Page)]
    assert [p.id for p in pages] == ["a.htm", "b/x.html", "c.xhtml", "d.html.gz"]
    assert [p.licence for p in pages] == ["MIT", "CC0-1.0", "X", "X"]
    assert [p.mime for p in pages][2] == "application/xhtml+xml"
    assert (pages[3].content, pages[3].url) == (b"<p>d", "https://e.org/d.html.gz")
    assert from_json(Reader, to_json(reader)) == reader


def test_html_units_are_groups_and_notice_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for n in range(7):
        (tmp_path / f"{n}.html").write_text("x" * 100)
    monkeypatch.setattr(_files.gather, "__defaults__", (250, 2000))
    reader = Html(paths=(str(tmp_path),))
    units = reader.units()
    assert [(u.start, u.stop) for u in units] == [(0, 2), (2, 4), (4, 6), (6, 7)]
    assert [i.id for i in items(reader) if isinstance(i, Page)] == [f"{n}.html" for n in range(7)]
    (tmp_path / "00.html").write_text("new")
    assert len(reader.units()) == 4
    with pytest.raises(InputError, match="changed"):
        list(reader.read(units[1], LIMITS))


def test_damaged_small_files_are_counted(tmp_path: Path):
    (tmp_path / "a.html").write_bytes(b"")
    (tmp_path / "b.html").write_bytes(b"x" * 2000)
    (tmp_path / "c.html.gz").write_bytes(gzip.compress(b"<p>" * 100)[:-12])
    (tmp_path / "d.html.gz").write_bytes(gzip.compress(bytes(5 << 20)))
    (tmp_path / "e.html").write_bytes(b"<p>good")
    found = items(Html(paths=(str(tmp_path),)), Limits(page_bytes=1999))
    assert faults(found) == [
        ("empty", "a.html"),
        ("too_large", "b.html"),
        ("truncated", "c.html.gz"),
        ("too_large", "d.html.gz"),
    ]
    found = items(Html(paths=(str(tmp_path),)))
    assert ("bomb", "d.html.gz") in faults(found)
    assert [i.id for i in found if isinstance(i, Page)] == ["b.html", "e.html"]


@pytest.mark.parametrize("content", ["[]", "{", '{"a": 1}'])
def test_wrong_licence_files_are_refused(content: str, tmp_path: Path):
    (tmp_path / "a.html").write_text("x")
    (tmp_path / "l.json").write_text(content)
    with pytest.raises(InputError, match=r"l\.json"):
        Html(paths=(str(tmp_path),), licences=str(tmp_path / "l.json")).units()


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson"])
def test_jsonl(suffix: str, tmp_path: Path):
    rows = [
        {"text": "one", "id": "a", "url": "http://x/1", "license": "MIT", "meta": {"score": 3}},
        {"text": "  "},
        {"html": "<p>\ud83d\ude00 zwei", "url": "http://x/2"},
        {"text": "drei\0 \ud800", "id": 7},
    ]
    write(tmp_path / f"d{suffix}", rows)
    reader = Jsonl(paths=(str(tmp_path),), columns=Columns(keep=("meta.score",)), licence="L")
    first, page, last = items(reader)
    assert isinstance(first, Document)
    assert (first.id, first.text, first.licence) == ("a", "one", "MIT")
    assert first.meta == {"meta.score": 3, "url": "http://x/1"}
    assert isinstance(page, Page)
    assert page.content == "<p>\U0001f600 zwei".encode()
    assert (page.charset, page.licence, page.url) == ("utf-8", "L", "http://x/2")
    assert isinstance(last, Document)
    assert (last.id, last.text) == ("7", "drei \ufffd")


def test_jsonl_rows_with_faults_name_row_and_column(tmp_path: Path):
    path = tmp_path / "d.jsonl"
    lines = [
        '{"text": "good 1"}',
        '{"body": "x", "id": 1}',
        '{"text": 5}',
        '{"text": "x", "url": []}',
        "[1]",
        "{",
        "[" * 100_000,
        '{"text": null}',
        '{"text": ' + "9" * 5000 + "}",
        "",
        '{"text": "good 2"}',
        '{"text": "' + "x" * 500 + '"}',
    ]
    path.write_bytes("\n".join(lines).encode() + b'\n{"text": "\xff"}\n{"text": "good 3"}')
    found = items(Jsonl(paths=(str(path),)), Limits(page_bytes=400, line_chars=200_000))
    assert texts(found) == ["good 1", "good 2", "good 3"]
    assert faults(found) == [
        ("missing_column", "d.jsonl:2"),
        ("wrong_type", "d.jsonl:3"),
        ("wrong_type", "d.jsonl:4"),
        ("bad_row", "d.jsonl:5"),
        ("bad_json", "d.jsonl:6"),
        ("bad_json", "d.jsonl:7"),
        ("missing_column", "d.jsonl:8"),
        ("bad_json", "d.jsonl:9"),
        ("too_large", "d.jsonl:12"),
        ("bad_json", "d.jsonl:13"),
    ]
    details = [i.detail for i in found if isinstance(i, Fault)]
    assert "'text'" in details[0]
    assert "body, id" in details[0]
    assert "'url'" in details[2]


def test_jsonl_without_the_column_is_refused_at_once(tmp_path: Path):
    write(tmp_path / "a.jsonl", [{"text": "x"}])
    write(tmp_path / "b.jsonl", [{"body": "x", "n": 1}])
    with pytest.raises(InputError, match=r"b\.jsonl:1: columns body, n: has neither 'text'"):
        Jsonl(paths=(str(tmp_path),)).units()
    reader = Jsonl(paths=(str(tmp_path / "b.jsonl"),), columns=Columns(text="body"))
    assert texts(items(reader)) == ["x"]


@pytest.mark.parametrize("unit_bytes", [1, 13, 40, 100, 1000])
def test_any_split_of_lines_gives_the_same_items(
    unit_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows = [{"text": "x" * (n % 7)} if n % 5 else {"bad": n} for n in range(1, 40)]
    write(tmp_path / "a.jsonl", rows)
    reader = Jsonl(paths=(str(tmp_path),))
    whole = items(reader)
    monkeypatch.setattr(_files.split, "__defaults__", (unit_bytes,))
    assert unit_bytes > 500 or len(reader.units()) > 1
    assert items(reader) == whole


def test_long_lines_are_skipped_in_bounded_memory(tmp_path: Path):
    for suffix in ("", ".gz", ".zst"):
        rows = [{"text": "a"}, {"text": "x" * 3_000_000}, {"text": "b"}]
        write(tmp_path / f"d.jsonl{suffix}", rows)
        reader = Jsonl(paths=(str(tmp_path / f"d.jsonl{suffix}"),))
        found = items(reader, Limits(line_chars=1_000_000))
        assert texts(found) == ["a", "b"]
        assert faults(found) == [("line_too_long", f"d.jsonl{suffix}:2")]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_damaged_compressed_lines(suffix: str, tmp_path: Path):
    path = tmp_path / f"d.jsonl{suffix}"
    write(path, [{"text": f"{n} {os.urandom(500).hex()}"} for n in range(500)])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    found = items(Jsonl(paths=(str(path),)))
    assert [reason for reason, _ in faults(found)] == ["truncated"]
    assert [t.split()[0] for t in texts(found)] == [str(n) for n in range(len(texts(found)))]
    path.write_bytes(
        zstandard.compress(bytes(80 << 20))
        if suffix == ".zst"
        else gzip.compress(bytes(80 << 20), 9)
    )
    found = items(Jsonl(paths=(str(path),)), Limits(line_chars=1000))
    assert [reason for reason, _ in faults(found)] == ["bomb"]


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    table = pa.table(
        {
            "html": [b"<p>\xe9", None, b"", b"<p>x", b"y" * 500],
            "text": ["t", "only text", None, None, None],
            "url": ["http://x/0", None, None, "http://x/3", None],
            "charset": ["latin-1", None, None, None, None],
            "extra": [1, 2, 3, 4, 5],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    reader = Parquet(paths=(str(tmp_path),), columns=Columns(keep=("extra",)))
    found = items(reader, Limits(page_bytes=400))
    first, second, third, fault = found
    assert isinstance(first, Page)
    assert (first.content, first.charset, first.meta) == (b"<p>\xe9", "latin-1", {"extra": 1})
    assert isinstance(second, Document)
    assert (second.id, second.text) == ("a.parquet@1", "only text")
    assert isinstance(third, Page)
    assert third.id == "a.parquet@3"
    assert isinstance(fault, Fault)
    assert (fault.reason, fault.place) == ("too_large", "a.parquet:5")
    monkeypatch.setattr("nautiloid.curate.readers.parquet.UNIT_BYTES", 1)
    assert len(reader.units()) == 3
    assert items(reader, Limits(page_bytes=400)) == found


def test_damaged_and_wrong_parquet(tmp_path: Path):
    pq.write_table(pa.table({"text": ["a" * 50] * 4}), tmp_path / "a.parquet", row_group_size=2)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[4:40] = os.urandom(36)
    (tmp_path / "a.parquet").write_bytes(bytes(data))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "c.parquet").write_bytes(b"")
    found = items(Parquet(paths=(str(tmp_path),)))
    assert texts(found) == ["a" * 50] * 2
    assert [f for f in faults(found) if f[0] == "unreadable"] == [
        ("unreadable", "b.parquet"),
        ("unreadable", "c.parquet"),
    ]
    assert faults(found)[0] == ("corrupt_record", "a.parquet:1")
    pq.write_table(pa.table({"body": ["a"]}), tmp_path / "d.parquet")
    with pytest.raises(InputError, match=r"d\.parquet: columns body"):
        Parquet(paths=(str(tmp_path),)).units()


def test_notebooks(tmp_path: Path):
    content = json.dumps(notebook({"cell_type": "markdown", "source": "x"})).encode()
    (tmp_path / "a.ipynb").write_bytes(content)
    (tmp_path / "b.ipynb.gz").write_bytes(gzip.compress(content))
    (tmp_path / "c.ipynb").write_bytes(b"")
    found = items(Notebook(paths=(str(tmp_path),)))
    pages = [(i.id, i.content, i.mime) for i in found if isinstance(i, Page)]
    mime = "application/x-ipynb+json"
    assert pages == [("a.ipynb", content, mime), ("b.ipynb.gz", content, mime)]
    assert faults(found) == [("empty", "c.ipynb")]


def mixed(root: Path) -> None:
    write(root / "rows/a.jsonl.gz", [{"text": "row"}])
    (root / "pages").mkdir()
    (root / "pages/p.html").write_text("<p>page")
    (root / "n.ipynb").write_text(json.dumps(notebook({"cell_type": "markdown", "source": "nb"})))
    pq.write_table(pa.table({"text": ["cell"]}), root / "t.parquet")
    (root / "notes.txt").write_text("ignored")


def test_files_of_every_kind(tmp_path: Path):
    mixed(tmp_path)
    reader = Files(paths=(str(tmp_path),))
    names = [u.name for u in reader.units()]
    assert [n.split(":")[0] for n in names] == ["html", "jsonl", "notebook", "parquet"]
    found = items(reader)
    assert texts(found) == ["row", "cell"]
    assert [i.id for i in found if isinstance(i, Page)] == ["pages/p.html", "n.ipynb"]
    assert from_json(Reader, to_json(reader)) == reader
    several = (str(tmp_path / "pages"), str(tmp_path / "t.parquet"), str(tmp_path / "rows/*.gz"))
    found = items(Files(paths=several))
    assert texts(found) == ["row", "cell"]
    with pytest.raises(InputError, match=r"notes\.txt.*no known kind"):
        Files(paths=(str(tmp_path / "notes.txt"),)).units()
    with pytest.raises(InputError, match="no such file"):
        Files(paths=(str(tmp_path / "nothing"),)).units()
    with pytest.raises(InputError, match="at least one"):
        Files().units()


def test_the_same_names_in_two_inputs_stay_apart(tmp_path: Path):
    for folder in ("x/d", "y/d", "z"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.html").write_text(folder)
    paths = tuple(str(tmp_path / f) for f in ("x/d", "y/d", "z"))
    pages = [i for i in items(Html(paths=paths)) if isinstance(i, Page)]
    assert len({p.id for p in pages}) == 3
    assert sorted(p.content for p in pages) == [b"x/d", b"y/d", b"z"]


def test_globs(tmp_path: Path):
    for name in ("a/x.html", "a/b/y.html", "c/z.htm", "c/t.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    for pattern, expected in (
        ("*/x.html", ["a/x.html"]),
        ("**/*.html", ["a/b/y.html", "a/x.html"]),
        ("?", ["a/b/y.html", "a/x.html", "c/z.htm"]),
        ("c/t.*", ["t.txt"]),
    ):
        found = items(Html(paths=(str(tmp_path / pattern),)))
        assert [i.id for i in found if isinstance(i, Page)] == expected


def test_folders_that_cannot_be_read_are_not_left_out_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "open").mkdir()
    (tmp_path / "open/a.html").write_text("x")
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"closed: Permission denied"):
        Html(paths=(str(tmp_path),)).units()
