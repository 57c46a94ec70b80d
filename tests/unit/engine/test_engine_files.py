"""Completions over files: order, errors in their own row, bounded memory, resuming."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import zstandard
from rich.console import Console

from nautiloid.core.errors import InputError
from nautiloid.core.types import Message, SamplingParams
from nautiloid.engine.engine import Engine
from nautiloid.engine.files import generate_file
from nautiloid.engine.lines import lines_of, survey
from nautiloid.model.checkpoint import write_checkpoint

PARAMS = SamplingParams(temperature=0.0, max_tokens=6)


@pytest.fixture(scope="module")
def engine(model, tokenizer):
    return Engine(model, tokenizer=tokenizer, max_batch=4, stop_ids=())


def write(path, rows):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run(engine, source, output, params=PARAMS, **more):
    return generate_file(
        engine, source, output, params, console=Console(file=io.StringIO()), **more
    )


def test_rows_come_in_order_with_their_own_settings(engine, tmp_path):
    rows = [
        {"prompt": "Sort 3, 17", "id": "first"},
        {"messages": [{"role": "user", "content": "What is 1 + 2?"}]},
        {"prompt": [40, 41], "params": {"max_tokens": 30}},
        {"messages": [{"role": "user", "content": "What is 1 + 2?"}], "thinking": False},
        {"prompt": "x", "params": {"n": 3, "temperature": 1.0}},
        {"prompt": "x", "params": {"choice": ["yes", "no"], "max_tokens": 20}},
    ]
    source = write(tmp_path / "in.jsonl", rows)
    report = run(engine, source, tmp_path / "out.jsonl", with_ids=True)
    out = read(tmp_path / "out.jsonl")
    assert [row["index"] for row in out] == list(range(6))
    assert out[0]["id"] == "first"
    direct = engine.generate(["Sort 3, 17", [Message("user", "What is 1 + 2?")]], PARAMS)
    for row, one in zip(out, direct, strict=False):
        done = row["completions"][0]
        assert done["ids"] == list(one.ids)
        assert done["logprobs"] == pytest.approx(one.logprobs, abs=1e-4)
        assert done["content"] == one.content
        assert done.get("reasoning") == one.reasoning
        assert done["reasoning_tokens"] == one.reasoning_tokens
        assert row["prompt_ids"] == list(one.prompt_ids)
    assert out[2]["completions"][0]["tokens"] == 30
    assert "reasoning" not in out[3]["completions"][0]
    assert len({tuple(c["ids"]) for c in out[4]["completions"]}) == 3
    assert out[5]["completions"][0]["content"] in ("yes", "no")
    assert (report.rows, report.failed) == (6, 0)
    assert report.completion_tokens == sum(c["tokens"] for r in out for c in r["completions"])
    assert report.prompt_tokens == sum(r["prompt_tokens"] for r in out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_a_budget_of_the_file_is_for_rows_that_think(engine, tmp_path):
    chat = {"messages": [{"role": "user", "content": "x"}]}
    rows = [{"prompt": "x"}, chat, {"prompt": "x", "params": {"thinking_budget_tokens": 1}}]
    params = SamplingParams(temperature=0, max_tokens=9, thinking_budget_tokens=2)
    run(engine, write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl", params)
    text, thought, refused = read(tmp_path / "out.jsonl")
    assert text["completions"][0]["tokens"] == 9
    assert thought["completions"][0]["reasoning_tokens"] == 3
    assert "thinking_budget_tokens: 1: needs a prompt of messages" in refused["error"]


def test_a_bad_row_fails_alone_and_says_why(engine, tmp_path):
    bad = {
        '{"prompt": "x"': "line: not valid JSON",
        "[1]": "line: [1]: give an object",
        '{"promt": "x"}': "promt: unknown field",
        '{"prompt": "x", "messages": []}': "prompt: give either",
        '{"id": 1}': "prompt: give either",
        '{"prompt": 3}': "prompt: 3: give text or token ids",
        '{"prompt": [999]}': "prompt: 999: ids are",
        '{"prompt": ""}': "prompt: is empty",
        '{"messages": [{"role": "king", "content": "x"}]}': "role: king",
        '{"messages": 3}': "messages: 3: give a list",
        '{"prompt": "x", "params": {"temprature": 1}}': "sampling.temprature: unknown field",
        '{"prompt": "x", "params": {"temperature": NaN}}': "sampling.temperature: nan",
        '{"prompt": "x", "params": {"regex": "(a"}}': "sampling.regex: (a: ",
        '{"prompt": "x", "params": 3}': "params: 3: give an object",
        '{"prompt": "x", "thinking": "yes"}': "thinking: 'yes': use true or false",
        '{"prompt": "x", "tools": 3}': "tools: 3: give a list",
        '{"prompt": "' + "word " * 600 + '"}': "prompt: ",
        '{"prompt": "' + "x" * 5000 + '"}': "line: too long",
        "\udcff".encode("utf-8", "surrogateescape").decode("latin1"): "line: not valid JSON",
    }
    good = {"prompt": "x"}
    rows = [row for line in bad for row in (line, good)]
    source = write(tmp_path / "in.jsonl", rows)
    report = run(engine, source, tmp_path / "out.jsonl", max_line_bytes=4000)
    out = read(tmp_path / "out.jsonl")
    for row, says in zip(out[::2], bad.values(), strict=True):
        assert says in row["error"]
        assert "completions" not in row
    assert len({json.dumps(row["completions"]) for row in out[1::2]}) == 1
    assert (report.rows, report.failed) == (len(rows), len(bad))
    assert not engine.requests


def test_compressed_and_blank_lines(engine, tmp_path):
    text = b'\n{"prompt": "a"}\n  \n\n{"prompt": "b"}'
    (tmp_path / "in.jsonl.zst").write_bytes(zstandard.compress(text))
    report = run(engine, tmp_path / "in.jsonl.zst", tmp_path / "out.jsonl")
    assert report.rows == 2
    assert len(read(tmp_path / "out.jsonl")) == 2


@pytest.mark.parametrize(
    "text", ["", "\n", "a", "a\n", "a\n\nb", "\n\na\n \n", "abcdefgh\na\nabcdefgh"]
)
def test_lines_and_their_count(tmp_path, text, monkeypatch):
    path = tmp_path / "lines"
    path.write_text(text)
    whole = [line.encode() for line in text.split("\n") if line.strip()]
    for size in (1, 2, 3, 100):
        monkeypatch.setattr("nautiloid.data.files.CHUNK_BYTES", size)
        assert list(lines_of(path, 4)) == [line if len(line) <= 4 else None for line in whole]
        assert survey(path)[1] == len(whole)


def test_only_a_window_of_rows_is_held(engine, tmp_path, monkeypatch):
    rows = [{"prompt": "x", "params": {"max_tokens": 60 if i == 0 else 2}} for i in range(200)]
    most = []
    step = engine.step
    monkeypatch.setattr(engine, "step", lambda: most.append(len(engine.requests)) or step())
    run(engine, write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl", window=6)
    assert max(most) == 6
    assert [len(row["completions"]) for row in read(tmp_path / "out.jsonl")] == [1] * 200


def test_a_torn_output_is_resumed_with_the_same_random_numbers(engine, tmp_path):
    params = SamplingParams(max_tokens=5, temperature=1.0)
    source = write(tmp_path / "in.jsonl", [{"prompt": f"a{i}"} for i in range(30)])
    run(engine, source, tmp_path / "whole.jsonl", params)
    whole = (tmp_path / "whole.jsonl").read_bytes()

    class EnoughError(Exception):
        pass

    def failing(count):
        step = type(engine).step
        left = [count]

        def one():
            left[0] -= 1
            if left[0] < 0:
                raise EnoughError
            return step(engine)

        return one

    part = tmp_path / "out.jsonl.part"
    for count in (1, 9, 12):
        engine.step = failing(count)
        with pytest.raises(EnoughError):
            run(engine, source, tmp_path / "out.jsonl", params)
        del engine.step
        assert not engine.requests
        with part.open("ab") as handle:
            handle.write(b'{"index": 12, "comp')
    held = part.read_bytes().count(b"\n")
    assert 0 < held < 30
    run(engine, source, tmp_path / "out.jsonl", params)
    assert (tmp_path / "out.jsonl").read_bytes() == whole
    assert not part.exists()


def test_another_input_or_setting_is_not_mixed_in(engine, tmp_path):
    source = write(tmp_path / "in.jsonl", [{"prompt": "a"}])
    output = tmp_path / "out.jsonl"
    run(engine, source, output)
    with pytest.raises(InputError, match=r"out.jsonl: exists: remove it"):
        run(engine, source, output)
    output.rename(tmp_path / "out.jsonl.part")
    with pytest.raises(InputError, match=r"out.jsonl.part: was begun with another input"):
        run(engine, source, output)
    (tmp_path / "out.jsonl.part").unlink()
    with pytest.raises(InputError, match="no such file"):
        run(engine, tmp_path / "nothing.jsonl", output)
    assert not output.exists()


def test_a_killed_process_goes_on(model, tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer")
    folder = tmp_path / "model"
    write_checkpoint(
        folder, model, tokenizer_folder=tmp_path / "tokenizer", provenance={}, card="x"
    )
    source = write(tmp_path / "in.jsonl", [{"prompt": f"a{i}"} for i in range(60)])
    output = tmp_path / "out.jsonl"
    code = (
        "import sys; from nautiloid.engine.engine import Engine; "
        "from nautiloid.engine.files import generate_file; "
        "from nautiloid.core.types import SamplingParams; "
        "generate_file(Engine(sys.argv[1], max_batch=2), *sys.argv[2:], SamplingParams(max_tokens=40))"
    )
    command = [sys.executable, "-c", code, str(folder), str(source), str(output)]
    part = output.with_name("out.jsonl.part")
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while not (part.exists() and part.read_bytes().count(b"\n") > 3):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = part.read_bytes()
    before = before[: before.rindex(b"\n") + 1]
    engine = Engine(folder, max_batch=2)
    run(engine, source, output, SamplingParams(max_tokens=40))
    assert output.read_bytes().startswith(before)
    assert [row["index"] for row in read(output)] == list(range(60))
