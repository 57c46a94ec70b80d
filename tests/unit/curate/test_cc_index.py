import http.server
import io
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nautiloid.core.config import from_json, to_json
from nautiloid.core.errors import InputError
from nautiloid.curate.page import Fault, Page
from nautiloid.curate.reader import Item, Limits, Reader
from nautiloid.curate.readers._fetch import is_safe
from nautiloid.curate.readers.cc_index import CcIndex
from nautiloid.curate.warc_writer import WarcWriter

DATE = datetime(2024, 1, 1, tzinfo=UTC)
LIMITS = Limits()


def body(crawl: int, n: int) -> bytes:
    return f"<html><p>crawl {crawl} page {n} {'x' * 50 * n}".encode()


def mirror(root: Path) -> list[dict[str, Any]]:
    """Two crawls with six pages each, two archives a crawl, and the rows of their index."""
    rows: list[dict[str, Any]] = []
    for crawl in (10, 20):
        for part in range(2):
            name = f"crawl-data/CC-MAIN-2024-{crawl}/warc/{part}.warc.gz"
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            file = io.BytesIO()
            writer = WarcWriter(file, DATE)
            for n in range(part, 6, 2):
                url = f"http://example.org/{n}"
                offset = writer.response(url, body(crawl, n))
                rows.append(
                    {
                        "url": url,
                        "fetch_time": datetime(2024, crawl // 10, 1),
                        "fetch_status": 200 if n != 5 else 404,
                        "content_mime_detected": "text/html" if n != 4 else "application/pdf",
                        "warc_filename": name,
                        "warc_record_offset": offset,
                        "warc_record_length": file.tell() - offset,
                        "crawl": f"CC-MAIN-2024-{crawl}",
                    }
                )
            (root / name).write_bytes(file.getvalue())
    return rows


def index(root: Path, rows: list[dict[str, Any]]) -> str:
    for crawl in {row["crawl"] for row in rows}:
        mine = [
            {k: v for k, v in row.items() if k != "crawl"} for row in rows if row["crawl"] == crawl
        ]
        folder = root / f"crawl={crawl}" / "subset=warc"
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(mine), folder / "part-0.parquet", row_group_size=2)
    return str(root)


def urls(path: Path, numbers: list[int]) -> str:
    path.write_text("".join(f"http://example.org/{n}\n" for n in numbers) + "# comment\n\n")
    return str(path)


def made(tmp_path: Path, numbers: list[int], **settings: Any) -> CcIndex:
    rows = mirror(tmp_path / "mirror")
    given = {"base": str(tmp_path / "mirror"), "wait_s": 0.001, "timeout_s": 2.0, **settings}
    return CcIndex(
        paths=(urls(tmp_path / "urls.txt", numbers),),
        index=(index(tmp_path / "index", rows),),
        cache=str(tmp_path / "cache"),
        **given,
    )


def items(reader: Reader, limits: Limits = LIMITS) -> list[Item]:
    return [item for unit in reader.units() for item in reader.read(unit, limits)]


def contents(found: list[Item]) -> list[bytes]:
    return [i.content for i in found if isinstance(i, Page)]


def reasons(found: list[Item]) -> Counter[str]:
    return Counter(i.reason for i in found if isinstance(i, Fault))


def test_join_and_local_mirror(tmp_path: Path):
    reader = made(tmp_path, [0, 1, 3, 4, 5, 77, 78])
    found = items(reader)
    # the newest captures, in the order of files; 4 is a PDF, 5 a 404
    assert contents(found) == [body(20, 0), body(20, 1), body(20, 3)]
    page = found[0]
    assert isinstance(page, Page)
    assert page.id == "crawl-data/CC-MAIN-2024-20/warc/0.warc.gz@0"
    assert page.meta["crawl"] == "CC-MAIN-2024-20"
    assert page.url == "http://example.org/0"
    fault = found[-1]
    assert isinstance(fault, Fault)
    assert (fault.reason, fault.lost) == ("not_in_index", 4)
    assert from_json(Reader, to_json(reader)) == reader


def test_every_capture(tmp_path: Path):
    found = items(made(tmp_path, [2, 3], captures="all"))
    assert contents(found) == [body(10, 2), body(10, 3), body(20, 2), body(20, 3)]
    assert contents(items(made(tmp_path, [2, 3], captures="all", max_records=3))) == [
        body(10, 2),
        body(10, 3),
        body(20, 2),
    ]


def test_parquet_lists_and_missing_columns(tmp_path: Path):
    reader = made(tmp_path, [0])
    pq.write_table(pa.table({"u": ["http://example.org/1", None]}), tmp_path / "u.parquet")
    lists = (str(tmp_path / "u.parquet"), reader.paths[0])
    settings = {"index": reader.index, "cache": reader.cache, "base": reader.base}
    found = items(CcIndex(paths=lists, url_column="u", **settings))
    assert contents(found) == [body(20, 0), body(20, 1)]
    with pytest.raises(InputError, match=r"u\.parquet: columns u: has no 'url'"):
        CcIndex(paths=lists, **settings).units()
    pq.write_table(pa.table({"url": ["x"]}), tmp_path / "bad.parquet")
    with pytest.raises(InputError, match=r"bad\.parquet: lacks columns warc_filename"):
        CcIndex(
            **{**settings, "index": (str(tmp_path / "bad.parquet"),)}, paths=reader.paths
        ).units()
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"bad\.parquet"):
        CcIndex(
            **{**settings, "index": (str(tmp_path / "bad.parquet"),)}, paths=reader.paths
        ).units()
    with pytest.raises(InputError, match=r"reader\.cache"):
        CcIndex(paths=lists, index=reader.index).units()
    with pytest.raises(InputError, match=r"reader\.connections"):
        CcIndex(connections=0)


def test_the_join_is_made_once_and_anew_when_the_input_changes(tmp_path: Path):
    reader = made(tmp_path, [0, 1])
    units = reader.units()
    stamp = os.stat(units[0].path).st_mtime_ns
    assert reader.units() == units
    assert os.stat(units[0].path).st_mtime_ns == stamp
    urls(tmp_path / "urls.txt", [0, 1, 2])
    assert reader.units()[0].path != units[0].path


def test_units_cut_the_join_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    reader = made(tmp_path, [0, 1, 2, 3], captures="all")
    whole = contents(items(reader))
    monkeypatch.setattr("nautiloid.curate.readers._join.GROUP_ROWS", 3)
    os.unlink(reader.units()[0].path)
    for size in (1, 600, 1000):
        monkeypatch.setattr("nautiloid.curate.readers.cc_index.UNIT_BYTES", size)
        assert len(reader.units()) > 1
        assert contents(items(reader)) == whole


class Server(http.server.ThreadingHTTPServer):
    def __init__(self, root: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.seen: Counter[str] = Counter()
        self.mode = "good"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        place = f"{self.path} {self.headers['Range']}"
        server.seen[place] += 1
        is_first = server.seen[place] <= 2
        mode = server.mode
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
        assert match
        data = (server.root / self.path.lstrip("/")).read_bytes()
        piece = data[int(match[1]) : int(match[2]) + 1]
        if mode == "missing":
            self.answer(404, b"")
        elif mode == "whole":
            self.answer(200, data)
        elif mode == "busy" and is_first:
            self.answer(503, b"slow down", {"Retry-After": "0"})
        elif mode == "short" and is_first:
            self.answer(206, piece[:-5])
        elif mode == "long":
            self.answer(206, piece + bytes(100_000))
        elif (mode == "hangup" and is_first) or mode == "dead":
            self.close_connection = True
        else:
            self.answer(206, piece)

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    mirror(tmp_path / "mirror")
    with Server(tmp_path / "mirror") as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()


@pytest.mark.parametrize("mode", ["good", "busy", "short", "hangup"])
def test_http_ranges_survive_faults_of_the_network(mode: str, server: Server, tmp_path: Path):
    server.mode = mode
    reader = made(tmp_path, [0, 1, 2, 3], base=f"http://127.0.0.1:{server.server_port}/")
    assert contents(items(reader)) == [body(20, n) for n in (0, 2, 1, 3)]
    tries = 1 if mode == "good" else 3
    assert set(server.seen.values()) == {tries}
    # what was fetched is not fetched again
    assert contents(items(reader)) == [body(20, n) for n in (0, 2, 1, 3)]
    assert set(server.seen.values()) == {tries}
    cached = next((tmp_path / "cache/records").rglob("*.gz"))
    cached.write_bytes(cached.read_bytes()[:50])  # the machine went down
    server.mode = "good"
    assert contents(items(reader)) == [body(20, n) for n in (0, 2, 1, 3)]


@pytest.mark.parametrize(
    ("mode", "tries"), [("missing", 1), ("whole", 1), ("long", 3), ("dead", 3)]
)
def test_what_cannot_be_fetched_is_counted(mode: str, tries: int, server: Server, tmp_path: Path):
    server.mode = mode
    base = f"http://127.0.0.1:{server.server_port}"
    reader = made(tmp_path, [0, 1], base=base, attempts=3)
    found = items(reader)
    assert reasons(found) == {"unreachable": 2}
    assert set(server.seen.values()) == {tries}


def test_places_outside_the_archive_are_refused(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("secret " * 100)
    reader = made(tmp_path, [0])
    rows = mirror(tmp_path / "mirror")[:1]
    (tmp_path / "mirror/link").symlink_to(tmp_path)
    names = ("../secret", str(secret), "a/../../secret", "link/secret", "..\\secret", "")
    for n, name in enumerate(names):
        row = {**rows[0], "warc_filename": name, "url": f"http://example.org/x{n}"}
        rows.append(row)
    rows.append({**rows[0], "warc_record_offset": -5, "url": "http://example.org/x10"})
    rows.append({**rows[0], "warc_record_length": 10**12, "url": "http://example.org/x11"})
    rows.append({**rows[0], "warc_record_offset": 10**12, "url": "http://example.org/x12"})
    index(tmp_path / "index", rows)
    (tmp_path / "urls.txt").write_text("".join(row["url"] + "\n" for row in rows))
    found = items(reader)
    assert contents(found) == [body(20, 0)]
    assert reasons(found) == {"bad_place": 7, "too_large": 1, "truncated": 1}
    assert not is_safe("C:\\x")
    assert not is_safe("a\nb")


def test_a_base_that_is_not_there(tmp_path: Path):
    reader = made(tmp_path, [0], base=str(tmp_path / "nothing"))
    with pytest.raises(InputError, match=r"reader\.base"):
        items(reader)
