# pyright: reportArgumentType=false, reportCallIssue=false, reportOptionalIterable=false
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false

import json
import os
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from tests.suites.sources import check_source, check_torch_free

from nautiloid.core.errors import InputError
from nautiloid.core.types import MediaPart, Message, Sample, TextPart, ToolCall
from nautiloid.data.records import Fields, read_messages
from nautiloid.data.sources.hf_folder import HfFolder
from nautiloid.data.sources.jsonl import Jsonl, write_jsonl
from nautiloid.data.sources.megatron import Index, Megatron, write_megatron
from nautiloid.data.sources.parquet import Parquet
from nautiloid.data.sources.text import Text

CHAT = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What"},
            {"type": "image_url", "image_url": {"url": "a.png"}},
        ],
    },
    {
        "role": "assistant",
        "content": None,
        "reasoning_content": "look",
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
        ],
    },
    {"role": "tool", "name": "f", "content": "42"},
    {"role": "assistant", "content": "42."},
]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def texts(source, **options):
    return [sample.text for sample in source.read(**options)]


def refuses(source, *words):
    with pytest.raises(InputError) as caught:
        list(source.read())
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_torch_free():
    names = ("environment", "hf_folder", "jsonl", "megatron", "parquet", "python_install", "text")
    check_torch_free(*(f"nautiloid.data.sources.{n}" for n in names), "nautiloid.data.loader")


def test_text_one_document_a_file(tmp_path):
    for name in ("b.txt", "a.txt", "c.md"):
        (tmp_path / name).write_text(f"{name}\n\nmore\n")
    (tmp_path / "other.bin").write_bytes(b"\xff")
    samples = check_source(Text(paths=(str(tmp_path),), licence="CC0-1.0"))
    assert [s.text.split("\n")[0] for s in samples] == ["a.txt", "b.txt", "c.md"]
    assert samples[0].licence == "CC0-1.0"


def test_text_separator(tmp_path):
    (tmp_path / "a.txt").write_text("one\nline\n\n\n\ntwo\n\nthree\n")
    source = Text(paths=(str(tmp_path / "*.txt"),), separator="\n\n")
    check_source(source)
    assert texts(source) == ["one\nline", "two", "three"]


def test_text_errors(tmp_path):
    refuses(Text(paths=(str(tmp_path / "none.txt"),)), "none.txt", "no such file")
    refuses(Text(paths=(str(tmp_path),)), "holds no file")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    refuses(Text(paths=(str(tmp_path),)), "latin.txt", "not UTF-8 at byte 3")
    (tmp_path / "latin.txt").write_text("x" * 100)
    refuses(Text(paths=(str(tmp_path),), max_document_bytes=99), "latin.txt", "over 99 bytes")
    with pytest.raises(InputError, match="separator"):
        Text(paths=("a",), separator="")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("x")
    path.chmod(0)
    refuses(Text(paths=(str(path),)), "a.txt", "ermission")


@pytest.mark.parametrize("suffix", ["", ".zst", ".gz"])
def test_jsonl(tmp_path, suffix):
    rows = [{"text": f"document {i}", "id": f"n{i}", "license": "MIT"} for i in range(50)]
    data = lines(rows[:20]) + b"\n  \n" + lines(rows[20:]).rstrip(b"\n")
    if suffix == ".zst":
        data = b"".join(zstandard.ZstdCompressor().compress(d) for d in (data[:99], data[99:]))
    if suffix == ".gz":
        import gzip

        data = gzip.compress(data)
    (tmp_path / f"a.jsonl{suffix}").write_bytes(data)
    source = Jsonl(paths=(str(tmp_path),))
    samples = check_source(source)
    assert [(s.text, s.id, s.licence) for s in samples] == [
        (r["text"], r["id"], "MIT") for r in rows
    ]


def test_jsonl_chat(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(
        lines([{"messages": CHAT, "tools": TOOLS, "reasoning": "off"}])
    )
    (sample,) = check_source(Jsonl(paths=(str(tmp_path),), fields=Fields(mode="reasoning")))
    assert sample.mode == "off"
    assert sample.tools == tuple(TOOLS)
    assert sample.messages == (
        Message("system", "Be brief."),
        Message("user", (TextPart("What"), MediaPart("image", "a.png"))),
        Message("assistant", reasoning="look", tool_calls=(ToolCall("f", {"x": 1}, "1"),)),
        Message("tool", "42", name="f"),
        Message("assistant", "42."),
    )


def test_sharegpt_and_nested_fields(tmp_path):
    rows = [{"data": {"turns": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]}}]
    (tmp_path / "a.jsonl").write_bytes(lines(rows))
    (sample,) = Jsonl(paths=(str(tmp_path),), fields=Fields(messages="data.turns")).read()
    assert sample.messages == (Message("user", "hi"), Message("assistant", "ho"))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"txt": "a"}, ("a.jsonl:2", "txt", "source.fields")),
        ({"text": 3}, ("a.jsonl:2", "text", "int", "str")),
        (["a"], ("a.jsonl:2", "object")),
        ({"messages": []}, ("a.jsonl:2", "at least one")),
        ({"messages": [{"role": "bot", "content": ""}]}, ("messages.0.role", "bot")),
        ({"messages": [{"role": "user", "content": 1}]}, ("messages.0.content",)),
        ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, ("content.0",)),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{"function": {"name": "f", "arguments": "{"}}],
                    }
                ]
            },
            ("tool_calls.0.arguments", "JSON"),
        ),
        ({"text": "a", "mode": "maybe"}, ("mode", "maybe", "budget")),
        ({"input_ids": [1, "2"]}, ("input_ids",)),
        ({"input_ids": [1, 2], "loss_mask": [1]}, ("loss_mask", "2 values")),
    ],
)
def test_jsonl_bad_rows(tmp_path, row, words):
    (tmp_path / "a.jsonl").write_bytes(lines([{"text": "fine"}, row]))
    refuses(Jsonl(paths=(str(tmp_path),)), *words)


def test_jsonl_bad_files(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": \n')
    refuses(Jsonl(paths=(str(path),)), "a.jsonl:2", "not valid JSON")
    path.write_bytes(b'{"text": "\xff"}\n')
    refuses(Jsonl(paths=(str(path),)), "a.jsonl:1", "not UTF-8")
    path.write_bytes(b"[" * 200_000)
    refuses(Jsonl(paths=(str(path),)), "a.jsonl:1", "not valid JSON")
    packed = zstandard.ZstdCompressor().compress(lines([{"text": os.urandom(99).hex()}] * 2000))
    path = tmp_path / "b.jsonl.zst"
    path.write_bytes(packed[: len(packed) // 2])
    refuses(Jsonl(paths=(str(path),)), "b.jsonl.zst", "cannot be read", "restore")
    path.write_bytes(b"no zstd at all, but long enough")
    refuses(Jsonl(paths=(str(path),)), "b.jsonl.zst", "cannot be read")


def test_decompression_bomb_is_bounded(tmp_path):
    path = tmp_path / "bomb.jsonl.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(b"\0" * 50_000_000))
    refuses(
        Jsonl(paths=(str(path),), max_line_bytes=2_000_000),
        "bomb.jsonl.zst:1",
        "over 2000000 bytes",
    )


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst"])
def test_write_jsonl(tmp_path, name):
    messages = read_messages(CHAT, "row")
    samples = [
        Sample(id="1", source="jsonl", text="text \u00e9 \ud800"),
        Sample(
            id="2",
            source="jsonl",
            messages=messages,
            tools=tuple(TOOLS),
            mode="budget",
            budget_tokens=7,
            weight=0.5,
        ),
        Sample(id="3", source="jsonl", tokens=(1, 2), trains=(False, True), licence="MIT"),
    ]
    assert write_jsonl(tmp_path / name, samples) == 3
    assert list(Jsonl(paths=(str(tmp_path / name),)).read()) == samples
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_write_jsonl_leaves_nothing_when_it_fails(tmp_path):
    def samples():
        yield Sample(id="1", source="x", text="a")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_jsonl(tmp_path / "a.jsonl", samples())
    assert list(tmp_path.iterdir()) == []


def table(n, start=0):
    return pa.table(
        {"text": [f"row {i}" for i in range(start, start + n)], "other": list(range(n))}
    )


def test_parquet(tmp_path):
    pq.write_table(table(500), tmp_path / "a.parquet", row_group_size=130)
    pq.write_table(table(7, 500), tmp_path / "b.parquet")
    source = Parquet(paths=(str(tmp_path),))
    check_source(source, limit=600)
    everything = texts(source)
    assert everything == [f"row {i}" for i in range(507)]
    for start in (129, 130, 131, 259, 260, 300, 499, 500, 501, 506, 507, 600):
        assert texts(source, start=start) == everything[start:]


def test_parquet_chat(tmp_path):
    rows = [
        {
            "messages": [
                {k: v for k, v in m.items() if k != "content"} | {"content": "x"} for m in CHAT
            ]
        }
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (sample,) = check_source(Parquet(paths=(str(tmp_path),)))
    assert [m.role for m in sample.messages] == [m["role"] for m in CHAT]
    assert sample.messages[2].tool_calls == (ToolCall("f", {"x": 1}, "1"),)
    assert sample.messages[0].reasoning is None


def test_parquet_errors(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 nothing")
    refuses(Parquet(paths=(str(path),)), "a.parquet", "cannot be read", "restore")
    path.write_bytes(b"")
    refuses(Parquet(paths=(str(path),)), "a.parquet", "cannot be read")
    pq.write_table(pa.table({"body": ["x"]}), path)
    refuses(Parquet(paths=(str(path),)), "a.parquet", "columns body", "source.fields")
    pq.write_table(pa.table({"text": [1]}), path)
    refuses(Parquet(paths=(str(path),)), "a.parquet: row 0: text", "expected str")
    pq.write_table(table(20_000), path, compression="none")
    data = bytearray(path.read_bytes())
    data[100:4000] = os.urandom(3900)
    path.write_bytes(data)
    refuses(Parquet(paths=(str(path),)), "a.parquet")


def test_hf_folder_by_name(tmp_path):
    (tmp_path / "data").mkdir()
    pq.write_table(table(5), tmp_path / "data" / "train-00000-of-00002.parquet")
    pq.write_table(table(5, 5), tmp_path / "data" / "train-00001-of-00002.parquet")
    (tmp_path / "data" / "test-00000-of-00001.jsonl").write_bytes(lines([{"text": "held out"}]))
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "train.jsonl").write_bytes(b"?")
    train = HfFolder(path=str(tmp_path))
    check_source(train)
    assert texts(train) == [f"row {i}" for i in range(10)]
    assert texts(HfFolder(path=str(tmp_path), split="test")) == ["held out"]
    refuses(
        HfFolder(path=str(tmp_path), split="validation"),
        "source.split",
        "validation",
        "train-00000",
    )
    refuses(HfFolder(path=str(tmp_path / "none")), "no such folder")
    refuses(HfFolder(path=str(tmp_path), subset="none"), "no such folder")


def test_hf_folder_without_splits(tmp_path):
    (tmp_path / "trainer_notes.jsonl").write_bytes(lines([{"text": "a"}]))
    assert texts(HfFolder(path=str(tmp_path))) == ["a"]
    (tmp_path / "empty").mkdir()
    refuses(HfFolder(path=str(tmp_path / "empty")), "no data files")


@pytest.mark.parametrize("is_dict", [False, True])
@pytest.mark.parametrize("is_stream", [False, True])
def test_hf_folder_saved_to_disk(tmp_path, is_dict, is_stream):
    root = tmp_path / "train" if is_dict else tmp_path
    root.mkdir(exist_ok=True)
    if is_dict:
        (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
    names = [
        "data-00001-of-00002.arrow",
        "data-00000-of-00002.arrow",
    ]  # the order of state.json counts
    for i, name in enumerate(names):
        new = pa.ipc.new_stream if is_stream else pa.ipc.new_file
        with new(str(root / name), table(300).schema) as writer:
            writer.write_table(table(300, 300 * i), max_chunksize=290)
    state = {
        "_data_files": [{"filename": n} for n in names],
        "_fingerprint": "f",
        "_split": "train",
    }
    (root / "state.json").write_text(json.dumps(state))
    (root / "dataset_info.json").write_text("{}")
    source = HfFolder(path=str(tmp_path))
    check_source(source, limit=700)
    assert texts(source) == [f"row {i}" for i in range(600)]
    if is_dict:
        refuses(HfFolder(path=str(tmp_path), split="test"), "source.split", "has train")
    (root / names[0]).write_bytes(b"\xff\xff\xff\xff nothing")
    refuses(source, names[0])
    (root / names[0]).unlink()
    refuses(source, names[0], "missing")


@given(
    documents=st.lists(st.lists(st.integers(0, 299), max_size=9), min_size=1, max_size=9),
    vocab_size=st.sampled_from([300, 65_499, 65_500, 131_072]),
)
def test_megatron_round_trip(tmp_path_factory, documents, vocab_size):
    prefix = tmp_path_factory.mktemp("m") / "corpus.v1"
    kept = [d for d in documents if d]
    assert write_megatron(prefix, documents, vocab_size=vocab_size) == len(kept)
    idx = prefix.with_name("corpus.v1.idx").read_bytes()
    assert len(idx) == 42 + 20 * len(kept)
    assert idx[17] == (8 if vocab_size < 65_500 else 4)
    for name in ("corpus.v1", "corpus.v1.idx", "corpus.v1.bin", "*.idx", ""):
        source = Megatron(paths=(str(prefix.parent / name),))
        assert [list(s.tokens) for s in source.read()] == kept


def test_megatron_reads_documents_of_several_sequences(tmp_path):
    ids = np.array([5, 6, 7, 8, 9], dtype="<i8")
    (tmp_path / "a.bin").write_bytes(ids.tobytes())
    (tmp_path / "a.idx").write_bytes(
        struct.pack("<9sQBQQ", b"MMIDIDX\0\0", 1, 5, 3, 3)
        + np.array([2, 1, 2], "<i4").tobytes()
        + np.array([0, 16, 24], "<i8").tobytes()
        + np.array([0, 2, 3], "<i8").tobytes()
    )
    source = Megatron(paths=(str(tmp_path / "a"),))
    assert [s.tokens for s in check_source(source)] == [(5, 6, 7), (8, 9)]


def test_megatron_errors(tmp_path):
    prefix = tmp_path / "a"
    idx, bin = tmp_path / "a.idx", tmp_path / "a.bin"
    source = Megatron(paths=(str(prefix),))
    refuses(source, "a.idx", "no such file")
    with pytest.raises(InputError, match="vocab_size is 4"):
        write_megatron(prefix, [[1, 2], [4]], vocab_size=4)
    assert list(tmp_path.iterdir()) == []
    write_megatron(prefix, [[1, 2], [3]], vocab_size=4)
    good = idx.read_bytes()
    for broken, words in (
        (b"", "not a Megatron index"),
        (b"x" + good[1:], "not a Megatron index"),
        (good[:9] + b"\2" + good[10:], "version 2"),
        (good[:17] + b"\6" + good[18:], "dtype code 6"),
        (good[:-1], "bytes"),
        (good[:-8] + b"\1" + good[-7:], "boundaries"),
    ):
        idx.write_bytes(broken)
        refuses(source, "a.idx", words)
    idx.write_bytes(good)
    bin.write_bytes(bin.read_bytes()[:-2])
    refuses(source, "a.bin", "does not fit")
    bin.unlink()
    refuses(source, "a.bin", "missing")


def test_megatron_opens_maps_not_copies(tmp_path):
    write_megatron(tmp_path / "a", [[1, 2, 3]], vocab_size=10)
    assert isinstance(Index.load(tmp_path / "a").tokens, np.memmap)


def test_fingerprint_follows_files_and_settings(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines([{"text": "a"}]))
    source = Jsonl(paths=(str(path),))
    before = source.fingerprint()
    assert Jsonl(paths=(str(path),), mode="off").fingerprint() != before
    path.write_bytes(lines([{"text": "ab"}]))
    assert source.fingerprint() != before
