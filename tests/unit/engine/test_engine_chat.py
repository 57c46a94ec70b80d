import io
import json
import subprocess
import sys

import pytest
from rich.console import Console

from nautiloid.core.types import SamplingParams
from nautiloid.engine.chat import Chat, chat
from nautiloid.engine.engine import Engine
from nautiloid.model.checkpoint import write_checkpoint


@pytest.fixture(scope="module")
def folder(model, tokenizer, tmp_path_factory):
    root = tmp_path_factory.mktemp("chat")
    tokenizer.save(root / "tokenizer")
    path = root / "model"
    write_checkpoint(path, model, tokenizer_folder=root / "tokenizer", provenance={}, card="x")
    return path


@pytest.fixture
def session(model, tokenizer):
    engine = Engine(model, tokenizer=tokenizer, max_batch=1)
    console = Console(file=io.StringIO(), width=400)
    return Chat(engine, console, SamplingParams(temperature=0, max_tokens=8))


def said(session):
    text = session.console.file.getvalue()
    session.console.file.truncate(0)
    session.console.file.seek(0)
    return text


def test_commands_change_the_settings(session, tmp_path):
    for line in ("/think off", "/budget 5", "/system Be brief.", "hello", "/help"):
        assert session.read(line)
    assert not session.thinking
    assert session.params.thinking_budget_tokens == 5
    assert [m.role for m in session.messages] == ["system", "user", "assistant"]
    assert session.messages[2].reasoning is None
    assert "/think on|off" in said(session)
    assert session.read(f"/save {tmp_path / 'talk.json'}")
    saved = json.loads((tmp_path / "talk.json").read_text())["messages"]
    assert [m["role"] for m in saved] == ["system", "user", "assistant"]
    assert session.read("/budget off")
    assert session.read("/reset")
    assert session.read("/system")
    assert session.messages == []
    assert session.params.thinking_budget_tokens is None
    assert not session.read("/quit")


def test_reasoning_is_folded_or_shown_before_the_content(session):
    session.params = SamplingParams(temperature=0, max_tokens=30, thinking_budget_tokens=3)
    session.read("What is 1 + 2?")
    turn, text = session.turns[-1], said(session)
    assert turn.reasoning
    assert turn.content
    folded, *rest = text.splitlines()
    assert folded == "thought for 4 tokens (/think show unfolds)"
    assert turn.content.splitlines()[0] in rest[0]
    assert "30 tokens (4 of thinking), " in rest[-1]
    assert rest[-1].endswith(" tok/s")
    session.read("/think show")
    assert said(session) == f"{turn.reasoning}\n"
    session.read("And 3?")
    assert len(session.turns) == 4
    text = said(session)
    assert "thought for" not in text
    assert text.find(session.turns[-1].reasoning[:4]) < text.find(session.turns[-1].content[:4])
    session.read("/think fold")
    assert said(session) == "thoughts are folded from now on\n"


def test_a_terminal_counts_thoughts_while_they_come(model, tokenizer):
    engine = Engine(model, tokenizer=tokenizer, max_batch=1)
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    params = SamplingParams(temperature=0, max_tokens=40, thinking_budget_tokens=20)
    Chat(engine, console, params).read("What is 1 + 2?")
    shown = console.file.getvalue()
    assert "thinking" in shown
    assert "thought for 22 tokens" in shown


def test_effort_goes_into_the_prompt(session):
    session.read("/effort low")
    assert session.params.thinking_effort == "low"
    session.read("/effort huge")
    assert "/effort: huge: use low or off" in said(session)
    session.read("hello")
    session.read("/effort off")
    assert session.params.thinking_effort is None


def test_a_saved_conversation_goes_on(session, model, tokenizer, tmp_path):
    session.params = SamplingParams(temperature=0, max_tokens=20, thinking_budget_tokens=3)
    for line in ("/system Be brief.", "hello", f"/save {tmp_path / 'talk.json'}"):
        session.read(line)
    other = Chat(session.engine, session.console, session.params)
    other.read(f"/load {tmp_path / 'talk.json'}")
    assert "loaded 3 messages" in said(session)
    assert other.messages == session.messages
    for name, text in (("broken", "{"), ("other", '{"rows": 1}'), ("wrong", '{"messages": [1]}')):
        (tmp_path / name).write_text(text)
        other.read(f"/load {tmp_path / name}")
    other.read(f"/load {tmp_path / 'nothing'}")
    assert said(session).count("\n") == 4
    assert other.messages == session.messages


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/fly", "/fly: no such command"),
        ("/think maybe", "/think: maybe: use on, off, show or fold"),
        ("/load", "/load: name a file"),
        ("/budget -1", "/budget: -1"),
    ],
)
def test_mistakes_are_explained_and_change_nothing(session, line, message):
    before = (session.thinking, session.params)
    assert session.read(line)
    assert message in said(session)
    assert (session.thinking, session.params) == before


def test_a_file_that_cannot_be_written_does_not_end_the_chat(session, tmp_path):
    assert session.read(f"/save {tmp_path}")
    assert "is a folder; name a file" in said(session)
    (tmp_path / "file").touch()
    assert session.read(f"/save {tmp_path / 'file' / 'chat.json'}")
    assert "Not a directory" in said(session)


def test_chat_reads_lines_of_a_model_folder(folder):
    shown = io.StringIO()
    chat(
        folder,
        params=SamplingParams(temperature=0, max_tokens=4),
        lines=["hello", "", "/quit", "never"],
        console=Console(file=shown, width=100),
    )
    assert "never" not in shown.getvalue()


def test_chat_works_piped(folder):
    code = (
        "import sys; from nautiloid.engine.chat import chat; "
        "from nautiloid.core.types import SamplingParams; "
        "chat(sys.argv[1], params=SamplingParams(temperature=0, max_tokens=4))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        input="hello\n/think off\nhello\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "thinking off" in result.stdout
    assert result.stderr == ""
