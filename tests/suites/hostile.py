"""A corpus that wants to crash, hang or fill whoever reads it, with known good pages in between.

Run as a program it reads a corpus and extracts its pages in this process, within bounds of memory,
and prints what came out.
"""

import gzip
import io
import json
import os
import random
import resource
import sys
import time
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import zstandard

from nautiloid.curate.warc_writer import WarcWriter

DATE = datetime(2024, 1, 1, tzinfo=UTC)
WORDS = [
    "chamber",
    "spiral",
    "shell",
    "limit",
    "proof",
    "field",
    "ring",
    "ideal",
    "lemma",
    "curve",
    "depth",
    "order",
    "class",
    "group",
]
BROTLI_ZEROS = "cbffff3ff82700e2b14020f7fe8fffff7ff04f00c4611180eefd1fffffffe09f0088c30200ddfbbffcffffc23f0110870500baf75f"
"""30 MiB."""


@dataclass(frozen=True)
class Scale:
    """Sizes: small ones for every run of the tests, the real ones for the slow run."""

    nested: int = 24 << 20
    deep: int = 30_000
    bomb: int = 40 << 20
    line: int = 1 << 20
    header: int = 1 << 20


FULL = Scale(nested=1 << 30, deep=1 << 20, bomb=1 << 30, line=10 << 20, header=10 << 20)


@dataclass
class Corpus:
    """What was written: each marker stands in one good page."""

    root: Path
    scale: Scale
    good: set[str] = field(default_factory=set)

    def page(self, case: str, body: str = "") -> bytes:
        """A good page of a case, as the text of a few sentences around `body`."""
        marker = f"good-{case}-{len(self.good):04d}"
        self.good.add(marker)
        words = random.Random(marker)
        sentences = [" ".join(words.choices(WORDS, k=12)).capitalize() + "." for _ in range(6)]
        text = f"<h1>{marker}</h1><p>{' '.join(sentences[:3])}</p>{body}<p>{' '.join(sentences[3:])}</p>"
        return f"<!DOCTYPE html><html><head><title>{case}</title></head><body>{text}</body></html>".encode()

    def member(self, case: str, body: str = "") -> bytes:
        """A good record."""
        return member(self.page(case, body), url=f"http://good.example/{len(self.good)}")

    def archive(
        self, case: str, bad: list[bytes], suffix: str = "warc.gz", last: bool = True
    ) -> None:
        """An archive with good records before, between and behind bad ones."""
        parts: list[bytes] = []
        for part in bad:
            parts += [self.member(case), self.member(case), part]
        parts += [self.member(case)] if last else []
        if suffix.endswith("zst"):
            parts = [
                zstandard.compress(gzip.decompress(p)) if p[:2] == b"\x1f\x8b" else p for p in parts
            ]
        self.file(f"{case}.{suffix}", b"".join(parts))

    def file(self, name: str, content: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def member(content: bytes, url: str = "http://bad.example/", **headers: str) -> bytes:
    file = io.BytesIO()
    WarcWriter(file, DATE).response(url, content, headers=headers)
    return file.getvalue()


def plain(block: bytes, lines: str) -> bytes:
    """A gzip member of a record with a header as given."""
    return gzip.compress(lines.encode("utf-8", "surrogateescape") + block + b"\r\n\r\n")


def streamed(pattern: bytes, size: int) -> bytes:
    """A deflated gzip member of much of the same, made piece by piece."""
    stream = zlib.compressobj(6, zlib.DEFLATED, 31)
    piece = pattern * (1 << 16)
    parts = [stream.compress(piece) for _ in range(size // len(piece))]
    return b"".join(parts) + stream.flush()


def streamed_record(pattern: bytes, size: int) -> bytes:
    """The same as a record whose header tells its size."""
    stream = zlib.compressobj(6, zlib.DEFLATED, 31)
    piece = pattern * (1 << 16)
    count = size // len(piece)
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    length = len(http) + count * len(piece)
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://b/\r\nContent-Length: {length}\r\n\r\n"
    parts = [stream.compress(head.encode() + http)]
    parts += [stream.compress(piece) for _ in range(count)]
    return b"".join([*parts, stream.compress(b"\r\n\r\n"), stream.flush()])


def zipped(size: int) -> bytes:
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("0", "w") as entry,
    ):
        for _ in range(size >> 20):
            entry.write(bytes(1 << 20))
    return file.getvalue()


def zstd_zeros(size: int) -> bytes:
    """A frame of runs: four bytes a block of 128 KiB (RFC 8878), no content size given."""
    block = (0x20000 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = (0 << 3 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd" + b"\x00\x58" + block * (size >> 17) + last


def write_hostile(root: Path, scale: Scale) -> Corpus:
    """Write the corpus into a folder."""
    corpus = Corpus(root, scale)
    root.mkdir(parents=True)
    _damaged(corpus)
    _bombs(corpus)
    _headers(corpus)
    _content(corpus)
    _rows(corpus)
    _names(corpus)
    return corpus


def _damaged(corpus: Corpus) -> None:
    record = member(b"<p>" + random.Random(0).randbytes(3000).hex().encode())
    flipped = bytearray(record)
    flipped[len(record) // 2] ^= 0xFF
    corpus.archive(
        "corrupt", [bytes(flipped), record[:-20], record[: len(record) // 2], b"\0" * 99]
    )
    corpus.archive("truncated", [record[: len(record) // 2]], last=False)
    corpus.archive("junk", [b"junk" * 1000, bytes(range(256)) * 9, b"\x1f\x8b\x08" * 5000])
    whole = b"".join(gzip.decompress(corpus.member("one-member")) for _ in range(5))
    corpus.file("one-member.warc.gz", gzip.compress(whole))
    corpus.archive("zstd", [zstandard.compress(b"x")[:-1], b"\x28\xb5\x2f\xfd" * 99], "warc.zst")
    corpus.file("empty.warc.gz", b"")
    corpus.file("empty.html", b"")
    corpus.file("empty.jsonl", b"")


def _bombs(corpus: Corpus) -> None:
    scale = corpus.scale
    nested = streamed(b"<div>", scale.nested)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    zstd_body = zstd_zeros(scale.bomb)
    corpus.archive(
        "bomb",
        [
            streamed_record(b"<div>", scale.nested),
            streamed_record(b"\0", scale.bomb),
            streamed(b"<div>", scale.bomb),  # never was a record
            member(nested, **{"Content-Encoding": "gzip"}),
            member(gzip.compress(nested), **{"Content-Encoding": "gzip, gzip"}),
            member(zstd_body, **{"Content-Encoding": "zstd"}),
            member(bytes.fromhex(BROTLI_ZEROS), **{"Content-Encoding": "br"}),
            member(zipped(scale.bomb)),
            member(b"x", **{"Content-Encoding": ", ".join(["gzip"] * 50)}),
        ],
    )
    start = zstandard.compress(
        b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 9\r\n\r\n" + head
    )
    corpus.archive("zstd-bomb", [zstd_body, start + zstd_body], "warc.zst")
    corpus.file("bomb.html.gz", nested)
    corpus.file("bomb.jsonl.zst", zstd_zeros(max(scale.bomb, 80 << 20)))
    corpus.file("bomb.ipynb.gz", streamed(b"[", scale.bomb))


def _headers(corpus: Corpus) -> None:
    record = gzip.decompress(member(b"<p>bad"))
    head, _, block = record.partition(b"\r\n\r\n")
    lines = head.decode()
    block = block.removesuffix(b"\r\n\r\n")
    length = f"Content-Length: {len(block)}"
    without = lines.replace(f"\r\n{length}", "")
    end = "\r\n\r\n"
    huge = f"{lines}\r\nX: {'x' * corpus.scale.header}{end}"
    bad = [
        plain(block, f"{without}{end}"),
        plain(block, f"{without}\r\nContent-Length: -5{end}"),
        plain(block, f"{without}\r\nContent-Length: {10**17}{end}"),
        plain(block, f"{without}\r\nContent-Length: {10**12}{end}"),
        plain(block, f"{without}\r\nContent-Length: {2 * len(block)}{end}"),
        plain(block, f"{without}\r\nContent-Length: 7{end}"),
        plain(block, f"{without}\r\nContent-Length: \u0663{end}"),
        plain(block, huge),
        plain(block, f"WARC/9.9\r\n{length}{end}"),
        plain(block, f"\r\n\r\n\r\n{lines}"),
        plain(block, "WARC/1.0"),
        plain(b"", "WARC/1.0\r\n\r\n"),
        plain(block, "\udcff\udcfe" * 5000),
        plain(b"HTTP/1.1 200 OK", f"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 15{end}"),
        plain(block, f"WARC/1.0\r\nWARC-Type: revisit\r\n{length}{end}"),
        member(b"ffffffff\r\n", **{"Transfer-Encoding": "chunked"}),
        member(b"\xff" * 50, **{"Content-Type": "image/png"}),
    ]
    corpus.archive("header", bad)
    # the same without boundaries that members give
    parts: list[bytes] = []
    for part in bad[:-4]:
        parts += [gzip.decompress(corpus.member("flat")), gzip.decompress(part)]
    corpus.file("flat.warc", b"".join([*parts, gzip.decompress(corpus.member("flat"))]))


def _content(corpus: Corpus) -> None:
    scale = corpus.scale
    deep = scale.deep
    bad = [
        b"",
        b"\0" * scale.line,
        b"<div>" * deep,
        b"<p>" + b"<b><i><u>" * (deep // 3) + b"x",
        b"<table><tr><td>" * (deep // 4),
        b"<math><mrow>" * (deep // 4),
        b"<math>" + b"<mfrac><mi>x</mi>" * (deep // 4),
        b"<script>var secret = 1;</script>" * 500,
        b"<style>" + b"a{}" * 5000,
        b"<!--" * (deep // 4),
        b"<" * deep,
        b"<p " + b"a=b " * deep + b">",
        b"&" * deep,
        bytes(random.Random(1).randbytes(deep)),
        "\u202e\ufeff\U000e0001".encode() * 1000,
        b"\xed\xa0\x80\xf4\x90\x80\x80" * 2000,
        b"<p>" + b"$" * deep,
        b"<p>" + rb"\[" * deep,
        b"<p>" + rb"\begin{align}" * (deep // 10),
        b"<ul><li>" * (deep // 4),
        b"<select><option>" * (deep // 4),
        b"<svg><foreignObject>" * (deep // 8),
        b"<p>" + b"x" * scale.line,
    ]
    corpus.archive("content", [member(content) for content in bad])
    math = "<math><mfrac><mi>x</mi></math><math><msup></math><math>&notanentity;<mo></math>"
    corpus.file("mathml.warc.gz", b"".join(corpus.member("mathml", math) for _ in range(3)))
    long = corpus.page("line", f"<p>{'word ' * (scale.line // 5)}</p>")
    corpus.file("line.html", long)
    corpus.file("nul.html", corpus.page("nul").replace(b" ", b" \0"))
    for label in ("utf-16", "klingon", "\0", "utf-8; charset=", "x" * 5000):
        content = corpus.page("label")
        content = content.replace(b"<head>", f'<head><meta charset="{label}">'.encode())
        corpus.file(f"labels/{len(corpus.good)}.html", content)


def _rows(corpus: Corpus) -> None:
    rows: list[bytes] = []
    for bad in (
        b"{",
        b"[" * 200_000,
        b'{"html": 5}',
        b'{"other": "x"}',
        b"null",
        b'{"html": "' + b"x" * corpus.scale.line,
        b'{"html": "\xff"}',
        b'{"html": ' + b"9" * 9000 + b"}",
        b"\0" * corpus.scale.line,
    ):
        rows += [json.dumps({"html": corpus.page("row").decode()}).encode(), bad]
    corpus.file("rows.jsonl", b"\n".join(rows))
    corpus.file("rows.jsonl.gz", gzip.compress(b"\n".join(rows[:1])[:-1])[:-9])
    corpus.file("bad.parquet", b"PAR1" + random.Random(2).randbytes(500) + b"PAR1")
    corpus.file("bad.ipynb", b'{"cells": ' * 50_000)
    corpus.file("binary.jsonl.zst", random.Random(3).randbytes(1000))


def _names(corpus: Corpus) -> None:
    names = [b"%2e%2e%2fetc%2fpasswd.html", b"new\nline.html", b"\xff\xfe.html", b"-rf *.html"]
    names += [b"x" * 240 + b".html", "\u202egnp.html".encode(), b"a:b@c+d.html", b"'\"$(id).html"]
    folder = os.fsencode(corpus.root / "names")
    os.mkdir(folder)
    for name in names:
        with open(os.path.join(folder, name), "wb") as file:
            file.write(corpus.page("name"))
    links = corpus.root / "links"
    links.mkdir()
    (links / "loop").symlink_to(corpus.root, target_is_directory=True)
    (links / "self.html").symlink_to("self.html")
    (links / "gone.html").symlink_to("/nowhere/at/all.html")
    (links / "tty.html").symlink_to("/dev/zero")
    os.mkfifo(links / "pipe.html")
    # a regular file that opens and then fails, whoever asks
    if Path("/proc/self/mem").exists():
        (links / "memory.html").symlink_to("/proc/self/mem")
    (links / "folder.html").mkdir()
    urls = (
        "../../etc/passwd",
        "file:///etc/passwd",
        "\udcff",
        "http://[::1",
        "javascript:1",
        "x" * 9999,
    )
    parts: list[bytes] = []
    for url in urls:
        content = corpus.page("url")
        parts.append(member(content, url=url.encode("utf-8", "replace").decode()))
    corpus.file("urls.warc.gz", b"".join(parts))


def main(root: str, memory_bytes: int, page_bytes: int) -> None:
    """Read and extract everything; print counts, markers, and what it took."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    from nautiloid.curate.extract.dom import Dom
    from nautiloid.curate.page import Fault, Page
    from nautiloid.curate.reader import Limits
    from nautiloid.curate.readers.files import Files
    from nautiloid.curate.stage import Dropped

    files, dom, limits = Files(paths=(root,)), Dom(), Limits(page_bytes=page_bytes)
    seen: Counter[str] = Counter()
    faults: dict[str, list[int | None]] = {}
    dropped: Counter[str] = Counter()
    ids: Counter[str] = Counter()
    slow: dict[str, float] = {}
    began = time.perf_counter()
    for unit in files.units():
        for item in files.read(unit, limits):
            if isinstance(item, Fault):
                name = item.place.partition("@")[0].partition(":")[0]
                faults.setdefault(f"{name} {item.reason}", []).append(item.lost)
                continue
            ids[item.id] += 1
            at = time.perf_counter()
            made = dom.extract(item) if isinstance(item, Page) else item
            slow[item.id] = time.perf_counter() - at
            if isinstance(made, Dropped):
                dropped[made.reason] += 1
                continue
            made.text.encode()
            seen.update(word.strip("#*") for word in made.text.split() if word.startswith("good-"))
    worst = sorted(slow.items(), key=lambda pair: -pair[1])[:5]
    facts = {
        "seen": seen,
        "faults": faults,
        "dropped": dropped,
        "repeated_ids": [key for key, count in ids.items() if count > 1],
        "worst": worst,
        "seconds": time.perf_counter() - began,
        "rss_bytes": _most_resident_bytes(),
    }
    print(json.dumps(facts))


def _most_resident_bytes() -> int:
    """Of this program alone: `getrusage` counts what the process was before it became this program."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise RuntimeError("the kernel does not say")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
