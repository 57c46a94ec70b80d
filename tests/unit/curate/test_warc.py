"""The WARC reader on good archives, and on each kind of damage with the losses counted exactly."""

import gzip
import io
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Generator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import pytest
import zstandard

from nautiloid.curate.page import Fault, Page
from nautiloid.curate.reader import Item, Limits, Reader
from nautiloid.curate.readers import _files
from nautiloid.curate.readers.warc import Warc
from nautiloid.curate.warc.data import opened
from nautiloid.curate.warc_writer import WarcWriter, digest, writing

DATE = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
COUNT = 10
LIMITS = Limits()
BROTLI_ZEROS = "cbffff3ff82700e2b14020f7fe8fffff7ff04f00c4611180eefd1fffffffe09f0088c30200ddfbbffcffffc23f0110870500baf75f"
"""30 MiB of zeros."""


def html(n: int, size: int = 3000) -> bytes:
    words = random.Random(n)
    text = " ".join(f"w{words.randrange(10**6)}" for _ in range(size // 8))
    return f"<html><title>page {n}</title><body><p>{text}</body></html>".encode()


def archive(kind: str = "gz", count: int = COUNT) -> list[bytes]:
    """One archive, a member or plain record an entry, with requests between the responses."""
    return list(_archive(kind, count))


@lru_cache
def _archive(kind: str, count: int) -> tuple[bytes, ...]:
    parts: list[bytes] = []
    for n in range(count):
        for make in ("request", "response"):
            file = io.BytesIO()
            writer = WarcWriter(file, DATE, level=6 if kind == "gz" else 0)
            url = f"http://example.org/{n}"
            if make == "request":
                writer.record("request", b"GET / HTTP/1.1\r\n\r\n", {"WARC-Target-URI": url})
            else:
                writer.response(url, html(n), charset="utf-8")
            parts.append(file.getvalue())
    if kind == "zst":
        compressor = zstandard.ZstdCompressor(write_checksum=True)
        return tuple(compressor.compress(part) for part in parts)
    return tuple(parts)


def read(content: bytes, tmp_path: Path, limits: Limits = LIMITS, suffix: str = "gz") -> list[Item]:
    path = tmp_path / f"a.warc.{suffix}"
    path.write_bytes(content)
    return read_all(Warc(paths=(str(path),)), limits)


def read_all(reader: Reader, limits: Limits = LIMITS) -> list[Item]:
    return [item for unit in reader.units() for item in reader.read(unit, limits)]


def urls(items: list[Item]) -> list[int]:
    found = [(i.url or "").rsplit("/", 1)[-1] for i in items if isinstance(i, Page)]
    return [int(n) if n.isdecimal() else -1 for n in found]


def faults(items: list[Item]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for item in items:
        if isinstance(item, Fault):
            before = found.get(item.reason, 0)
            found[item.reason] = None if item.lost is None or before is None else before + item.lost
    return found


FORMS = ("gz", "zst", "plain", "one gzip member", "blocks of gzip", "one zstd frame")


def packed(form: str, parts: list[bytes] | None = None) -> bytes:
    if form in ("gz", "zst"):
        return b"".join(archive(form))
    whole = b"".join(archive("plain"))
    if form == "one gzip member":
        return gzip.compress(whole, mtime=0)
    if form == "blocks of gzip":  # as bgzip writes them: records go over their ends
        return b"".join(gzip.compress(whole[i : i + 5000]) for i in range(0, len(whole), 5000))
    return zstandard.ZstdCompressor().compress(whole) if form == "one zstd frame" else whole


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_pages(form: str, tmp_path: Path):
    items = read(packed(form), tmp_path)
    assert urls(items) == list(range(COUNT))
    assert faults(items) == {}
    page = items[3]
    assert isinstance(page, Page)
    assert (page.content, page.mime, page.charset) == (html(3), "text/html", "utf-8")
    assert page.meta["date"] == "2024-05-06T07:08:09Z"
    assert page.meta["warc_filename"] == "a.warc.gz"
    assert page.meta["warc_record_id"].startswith("urn:uuid:")
    ids = [i.id for i in items if isinstance(i, Page)]
    assert len(set(ids)) == COUNT


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("unit_bytes", [700, 1500, 4000, 9999])
def test_any_split_gives_the_same_items(
    form: str, unit_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = read(packed(form), tmp_path)
    split = _files.split
    monkeypatch.setattr(
        "nautiloid.curate.readers.warc.split", lambda e, can: split(e, can, unit_bytes)
    )
    reader = Warc(paths=(str(tmp_path),))
    assert len(reader.units()) > 1 or form not in ("gz", "zst", "plain")
    assert [u.name for u in reader.units()] == sorted(u.name for u in reader.units())
    assert read_all(reader) == whole


@pytest.mark.parametrize("unit_bytes", [700, 1500, 4000])
def test_any_split_counts_damage_once(
    unit_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    parts = archive()
    for n in range(1, len(parts), 3):
        parts[n] = parts[n][:10] + b"\0\0" + parts[n][12:]
    whole = read(b"".join(parts), tmp_path)
    split = _files.split
    monkeypatch.setattr(
        "nautiloid.curate.readers.warc.split", lambda e, can: split(e, can, unit_bytes)
    )
    assert read_all(Warc(paths=(str(tmp_path),))) == whole


@pytest.mark.parametrize("kind", ["gz", "zst"])
@pytest.mark.parametrize("where", ["header", "first", "middle", "last", "check"])
@pytest.mark.parametrize("victim", [0, 4, COUNT - 1])
def test_a_flipped_byte_costs_its_record(kind: str, where: str, victim: int, tmp_path: Path):
    parts = archive(kind)
    part = bytearray(parts[2 * victim + 1])
    at = {"header": 0, "first": 14, "middle": len(part) // 2, "last": len(part) - 14}
    part[at.get(where, len(part) - 3)] ^= 0x5A
    parts[2 * victim + 1] = bytes(part)
    items = read(b"".join(parts), tmp_path)
    found = faults(items)
    if urls(items) == list(range(COUNT)):  # the byte did not matter (flags of the header)
        return
    assert urls(items) == [n for n in range(COUNT) if n != victim]
    assert sum(lost or 1 for lost in found.values()) == 1, found


@pytest.mark.parametrize("seed", range(30))
def test_random_damage_never_costs_a_good_record(seed: int, tmp_path: Path):
    rng = random.Random(seed)
    kind = rng.choice(["gz", "zst", "plain"])
    parts = archive(kind)
    hurt: set[int] = set()
    for n in rng.sample(range(len(parts)), rng.randrange(1, 6)):
        part = bytearray(parts[n])
        way = rng.choice(["flip", "zero", "cut", "grow", "drop"])
        a = rng.randrange(len(part))
        b = min(len(part), a + rng.randrange(1, 300))
        if way == "flip":
            part[a] ^= 1 << rng.randrange(8)
        elif way == "zero":
            part[a:b] = bytes(b - a)
        elif way == "cut":
            del part[a:b]
        elif way == "grow":
            part[a:a] = rng.randbytes(b - a)
        else:
            part.clear()
        parts[n] = bytes(part)
        hurt.add(n)
    items = read(b"".join(parts), tmp_path)
    good = {n for n in range(COUNT) if 2 * n + 1 not in hurt}
    assert good <= set(urls(items))


@pytest.mark.parametrize("seed", range(30))
def test_the_fast_way_gives_what_the_careful_one_gives(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rng = random.Random(1000 + seed)
    parts = archive()
    for n in rng.sample(range(len(parts)), rng.randrange(3)):
        raw = gzip.decompress(parts[n])
        at = rng.randrange(200)
        parts[n] = rng.choice(
            [
                gzip.compress(raw + b"\0" * 50),
                gzip.compress(raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :]),
                gzip.compress(raw[:at] + raw[at + 5 :]),
                gzip.compress(raw.replace(b"Content-Length: ", b"Content-Length: 1", 1)),
                gzip.compress(raw[:at]) + gzip.compress(raw[at:]),
                parts[n][:-6] + b"\0" + parts[n][-5:],
                parts[n][:-40],
                parts[n] + b"junk",
            ]
        )
    fast = read(b"".join(parts), tmp_path)

    def careful(*_: object, start: int, **__: object) -> Generator[None, None, int]:
        return start
        yield

    monkeypatch.setattr("nautiloid.curate.readers.warc.fast_records", careful)
    assert read(b"".join(parts), tmp_path) == fast


def test_damage_is_counted_once_behind_damage(tmp_path: Path):
    parts = archive()
    for n in (3, 6, 7, 9):
        parts[n] = parts[n][:-6] + b"\0" + parts[n][-5:]
    found = [i for i in read(b"".join(parts), tmp_path) if isinstance(i, Fault)]
    assert len(found) == len({f.place for f in found}) == 4


def test_a_cut_file_gives_its_whole_records_and_says_so(tmp_path: Path):
    content = b"".join(archive())
    for size in (len(content) - 1, len(content) - 9, len(content) - 500, 700, 30):
        items = read(content[:size], tmp_path)
        assert list(faults(items)) == ["truncated"]
        assert urls(items) == list(range(len(urls(items))))
    items = read(content[:-4], tmp_path)  # the record is whole, only its check sum is cut
    assert urls(items) == list(range(COUNT))
    assert faults(items) == {"truncated": 0}


@pytest.mark.parametrize("kind", ["gz", "plain", "one"])
@pytest.mark.parametrize(
    "value", ["-5", "999999999999", "99999999999999999999", "x", "", "10", "0x20", "4000"]
)
def test_a_wrong_content_length_costs_its_record(kind: str, value: str, tmp_path: Path):
    parts = archive("plain")
    head, _, tail = parts[9].partition(b"Content-Length: ")
    _, _, tail = tail.partition(b"\r\n")
    parts[9] = head + b"Content-Length: " + value.encode() + b"\r\n" + tail
    if kind == "gz":
        parts = [gzip.compress(part) for part in parts]
    content = b"".join(parts)
    items = read(gzip.compress(content) if kind == "one" else content, tmp_path)
    assert urls(items) == [n for n in range(COUNT) if n != 4]
    found = faults(items)
    assert sum(lost or 0 for lost in found.values()) == 1
    assert set(found) <= {"content_length", "bad_header", "too_large"}


@pytest.mark.parametrize("kind", ["gz", "plain", "one"])
@pytest.mark.parametrize(
    "junk",
    [b"\x00" * 500, b"junk\r\n\r\n", b"\r\n\r\nWARC", bytes(range(256)) * 30, b"WARC/1.0\r\n\r\n"],
)
def test_junk_between_records_costs_nothing(kind: str, junk: bytes, tmp_path: Path):
    parts = archive("gz" if kind == "gz" else "plain")
    content = b"".join([*parts[:6], junk, *parts[6:]])
    items = read(gzip.compress(content) if kind == "one" else content, tmp_path)
    assert urls(items) == list(range(COUNT))
    assert faults(items)


@pytest.mark.parametrize("end", [b"", b"\0" * 1000, b"\r\n\r\n", b"\r\n" * 50])
def test_padding_at_the_end_is_no_damage(end: bytes, tmp_path: Path):
    for kind in ("gz", "zst"):
        assert faults(read(b"".join(archive(kind)) + end, tmp_path)) == {}


def test_missing_line_ends_between_records_are_forgiven(tmp_path: Path):
    parts = [part.removesuffix(b"\r\n\r\n") for part in archive("plain")]
    for between in (b"", b"\r\n", b"\n\n", b"\n"):
        items = read(b"".join(part + between for part in parts), tmp_path)
        assert urls(items) == list(range(COUNT))
        assert faults(items) == {}


def test_a_dictionary_in_a_skippable_frame(tmp_path: Path):
    parts = archive("plain", 40)
    dictionary = zstandard.train_dictionary(2000, parts)
    compressor = zstandard.ZstdCompressor(dict_data=dictionary)
    content = dictionary.as_bytes()
    head = struct.pack("<4sI", b"\x5d\x2a\x4d\x18", len(content)) + content
    items = read(head + b"".join(compressor.compress(p) for p in parts), tmp_path)
    assert urls(items) == list(range(40))


def http(block: bytes, tmp_path: Path, limits: Limits = LIMITS, **headers: str) -> list[Item]:
    file = io.BytesIO()
    fields = {"WARC-Target-URI": "http://x/1", "Content-Type": "application/http", **headers}
    WarcWriter(file, DATE).record("response", block, fields)
    return read(file.getvalue(), tmp_path, limits)


def chunked(content: bytes, size: int = 100) -> bytes:
    chunks = [content[i : i + size] for i in range(0, len(content), size)]
    return b"".join(b"%x;ext=1\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"


def deflate(content: bytes, wbits: int) -> bytes:
    stream = zlib.compressobj(wbits=wbits)
    return stream.compress(content) + stream.flush()


def brotli(content: bytes) -> bytes:
    if content == bytes(30 << 20):
        return bytes.fromhex(BROTLI_ZEROS)
    # one meta-block that is not compressed, then an empty last one (RFC 7932, 9.2)
    bits = (len(content) - 1) << 4 | 1 << 20
    return bits.to_bytes(3, "little") + content + b"\x03"


ENCODINGS = {
    "gzip": gzip.compress,
    "deflate": lambda c: deflate(c, 15),
    "x-raw": lambda c: deflate(c, -15),
    "zstd": zstandard.ZstdCompressor().compress,
    "br": brotli,
    "gzip, deflate": lambda c: zlib.compress(gzip.compress(c)),
    "identity": bytes,
}


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_content_encodings_are_undone(name: str, is_chunked: bool, tmp_path: Path):
    body = ENCODINGS[name](html(1))
    header = f"Content-Encoding: {'deflate' if name == 'x-raw' else name}\r\n"
    if is_chunked:
        body = chunked(body)
        header += "Transfer-Encoding: chunked\r\n"
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" + header.encode() + b"\r\n" + body
    [page] = http(block, tmp_path)
    assert isinstance(page, Page)
    assert page.content == html(1)


@pytest.mark.parametrize("name", ["gzip", "deflate", "zstd", "br"])
def test_bodies_that_were_decoded_before_they_were_stored(name: str, tmp_path: Path):
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {name}\r\nTransfer-Encoding: chunked\r\n\r\n"
    [page] = http(head.encode() + html(2), tmp_path)
    assert isinstance(page, Page)
    assert page.content == html(2)


def test_a_cut_encoding_gives_what_it_holds(tmp_path: Path):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\n\r\n"
    [page] = http(head + gzip.compress(html(2))[:-300], tmp_path, **{"WARC-Truncated": "length"})
    assert isinstance(page, Page)
    assert html(2).startswith(page.content)
    assert len(page.content) > 1000
    assert page.meta["truncated"] == "length"


@pytest.mark.parametrize("name", ["gzip", "deflate", "x-raw", "zstd", "br", "gzip, deflate"])
def test_bombs_are_stopped(name: str, tmp_path: Path):
    body = ENCODINGS[name](bytes(30 << 20))
    header = f"Content-Encoding: {'deflate' if name == 'x-raw' else name}\r\n".encode()
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" + header + b"\r\n" + body
    [fault] = http(block, tmp_path)
    assert isinstance(fault, Fault)
    assert fault.reason == "bomb"
    [fault] = http(block, tmp_path, Limits(expansion=1e9))
    assert isinstance(fault, Fault)
    assert fault.reason == "too_large"


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        (b"Content-Type: text/html; charset=koi8-r", b"<p>x", ("text/html", "koi8-r")),
        (b"Content-Type: application/xhtml+xml", b"<html/>", ("application/xhtml+xml", None)),
        (b"Content-Type: application/xml", b"<?xml?><html/>", ("application/xhtml+xml", None)),
        (b"X: y", b"<!DOCTYPE html><p>x", ("text/html", None)),
        (b"Content-Type: application/octet-stream", b"<html>x", ("text/html", None)),
        (b"Content-Type: application/xml", b"<rss/>", None),
        (b"Content-Type: text/html", b"%PDF-1.5", None),
        (b"Content-Type: image/png", b"<html>", None),
        (b"X: y", b"\x89PNG\r\n\x1a\n", None),
        (b"X: y", b"\0\1\2\3", None),
        (b"Content-Type: application/json", b'{"a": 1}', None),
        (b"Content-Type: text/html", b" \r\n", None),
    ],
)
def test_types(head: bytes, body: bytes, expected: tuple[str, str | None] | None, tmp_path: Path):
    items = http(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body, tmp_path)
    found = [(i.mime, i.charset) for i in items if isinstance(i, Page)]
    assert found == ([expected] if expected else [])
    assert len(items) == len(found)


def test_text_and_notebooks(tmp_path: Path):
    text = "на математика и другие слова".encode("cp1251")
    [page] = http(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + text, tmp_path)
    assert isinstance(page, Page)
    assert (page.content, page.mime) == (text, "text/plain")
    notebook = b'{"nbformat": 4, "cells": []}'
    [page] = http(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + notebook, tmp_path)
    assert isinstance(page, Page)
    assert (page.content, page.mime) == (notebook, "application/x-ipynb+json")


def test_wet(tmp_path: Path):
    with writing(tmp_path / "a.warc.wet.gz", date=DATE) as writer:
        writer.info("a.warc.wet.gz", {"software": "test"})
        writer.conversion("http://x/ä", "Größe\n" * 3)
    [page] = read_all(Warc(paths=(str(tmp_path),), licence="CC0-1.0"))
    assert isinstance(page, Page)
    assert (page.content.decode(), page.mime) == ("Größe\n" * 3, "text/plain")
    assert (page.url, page.licence, page.charset) == ("http://x/ä", "CC0-1.0", "utf-8")


@pytest.mark.parametrize("status", [301, 404, 500])
def test_other_statuses_are_passed_over(status: int, tmp_path: Path):
    assert (
        http(f"HTTP/1.1 {status} X\r\nContent-Type: text/html\r\n\r\n<p>".encode(), tmp_path) == []
    )


def test_revisits_hold_no_page(tmp_path: Path):
    file = io.BytesIO()
    writer = WarcWriter(file, DATE)
    writer.record(
        "revisit",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n",
        {"WARC-Target-URI": "http://x/0"},
    )
    writer.response("http://x/1", html(1))
    items = read(file.getvalue(), tmp_path)
    assert (urls(items), faults(items)) == ([1], {})


def test_too_large_records_are_counted_and_the_next_are_read(tmp_path: Path):
    for level in (6, 0):
        file = io.BytesIO()
        writer = WarcWriter(file, DATE, level)
        for n, size in enumerate((3000, 400_000, 3000)):
            writer.response(f"http://x/{n}", html(n, size))
        items = read(file.getvalue(), tmp_path, Limits(page_bytes=100_000))
        assert (urls(items), faults(items)) == ([0, 2], {"too_large": 1})


def test_written_archives_are_valid(tmp_path: Path):
    archiveiterator = pytest.importorskip("warcio.archiveiterator")
    path = tmp_path / "a.warc.gz"
    with writing(path, date=DATE) as writer:
        writer.info("a.warc.gz", {"software": "nautiloid", "format": "WARC File Format 1.1"})
        for n in range(5):
            writer.response(f"http://x/{n}", html(n), charset="utf-8")
        writer.conversion("http://x/t", "text")
    with path.open("rb") as file:
        found = archiveiterator.ArchiveIterator(file, check_digests="raise")
        seen = [
            (r.rec_type, r.rec_headers.get_header("WARC-Target-URI"), r.content_stream().read())
            for r in found
        ]
    assert [s[0] for s in seen] == ["warcinfo", *["response"] * 5, "conversion"]
    assert [s[2] for s in seen[1:6]] == [html(n) for n in range(5)]
    first = path.read_bytes()
    with writing(path, date=DATE) as writer:
        writer.info("a.warc.gz", {"software": "nautiloid", "format": "WARC File Format 1.1"})
    assert first.startswith(path.read_bytes())
    assert digest(b"") == "sha1:3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ"


def test_archives_of_another_writer(tmp_path: Path):
    warcwriter = pytest.importorskip("warcio.warcwriter")
    statusandheaders = pytest.importorskip("warcio.statusandheaders")
    with (tmp_path / "a.warc.gz").open("wb") as file:
        writer = warcwriter.WARCWriter(file, gzip=True)
        for n in range(5):
            head = statusandheaders.StatusAndHeaders(
                "200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.0"
            )
            writer.write_record(
                writer.create_warc_record(
                    f"http://x/{n}", "response", payload=io.BytesIO(html(n)), http_headers=head
                )
            )
    items = read_all(Warc(paths=(str(tmp_path),)))
    assert (urls(items), faults(items)) == (list(range(5)), {})


@pytest.mark.parametrize("block_bytes", [8, 13, 64, 1 << 20])
def test_files_read_like_bytes(block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("nautiloid.curate.warc.data.BLOCK_BYTES", block_bytes)
    rng = random.Random(block_bytes)
    content = bytes(rng.choices(b"abc\n", k=500))
    (tmp_path / "f").write_bytes(content)
    with opened(str(tmp_path / "f")) as file:
        assert len(file) == 500
        assert file[:] == content
        for _ in range(500):
            a, b = rng.randrange(520), rng.randrange(520)
            assert file[a:b] == content[a:b]
            sub = content[a : a + rng.randrange(1, 6)] or b"zz"
            assert file.find(sub, b) == content.find(sub, b)


def test_a_file_larger_than_the_address_space(tmp_path: Path):
    path = tmp_path / "large.warc.gz"
    with path.open("wb") as file:
        file.write(b"".join(archive()))
        file.truncate(1 << 30)  # sparse
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (900 << 20, 900 << 20));"
        "from nautiloid.curate.readers.warc import Warc; from nautiloid.curate.reader import Limits;"
        "unit = Warc(paths=(sys.argv[1],)).units()[0];"
        "print(len(list(Warc(paths=(sys.argv[1],)).read(unit, Limits()))))"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{COUNT}\n"
