import time

import pytest

from nautiloid.core.types import Message, ToolCall
from nautiloid.data.render._xml_calls import convert
from nautiloid.data.tokenizer import Tokenizer

CORPUS = ["The answer. <TOOLCALL>[{}]</TOOLCALL> </think> think" * 3] * 10
CALL = "<tool_call>\n<function=f>\n<parameter=x>\n1\n</parameter>\n</function>\n</tool_call>"


@pytest.fixture(scope="module")
def tokenizers():
    return {g: Tokenizer.train(CORPUS, 400, g) for g in ("nemotron3", "chatml", "nano_v2")}


@pytest.fixture(scope="module")
def parse(tokenizers):
    return tokenizers["nemotron3"].renderer().parse


def reply(content="", reasoning=None, *calls):
    return Message("assistant", content, reasoning=reasoning, tool_calls=calls)


def test_reasoning_ends_at_the_first_close(parse):
    assert parse("hm\n</think>\nyes</think>no", thinking=True) == reply("yes</think>no", "hm")
    assert parse("never ends", thinking=True) == reply("", "never ends")
    assert parse("\n</think>yes", thinking=True) == reply("yes")
    assert parse("", thinking=True) == reply()


def test_without_thinking_everything_is_content(parse):
    assert parse("plain", thinking=False) == reply("plain")
    assert parse("stray</think>", thinking=False) == reply("stray")
    assert parse("stray</think>yes", thinking=False) == reply("yes", "stray")
    assert parse("text" + CALL, thinking=False) == reply("text", None, ToolCall("f", {"x": "1"}))
    assert parse("only", thinking=True, force_nonempty_content=True) == reply("only")


def test_ids_tell_a_tag_from_its_spelling(tokenizers, parse):
    tokenizer = tokenizers["nemotron3"]
    spelled, close = tokenizer.encode("a</think>b"), tokenizer.special("</think>")
    ids = [*spelled, close, *tokenizer.encode("c"), tokenizer.special("<|im_end|>"), 50]
    assert parse(ids, thinking=True) == reply("c", "a</think>b")
    assert parse("a</think>c<|im_end|>\n", thinking=True) == reply("c", "a")
    plain = tokenizers["nano_v2"]
    ids = plain.encode("a.\n</think>\n\nb\n<SPECIAL_12>\n", allow_special=True)
    assert plain.renderer().parse(ids, thinking=True) == reply("b", "a.")


def test_a_call_ends_the_reasoning(parse):
    call = ToolCall("f", {"x": "1"})
    assert parse("I call" + CALL, thinking=True) == reply("", "I call", call)
    assert parse("I call" + CALL + "</think>", thinking=True) == reply("", "I call", call)
    assert parse("I could <tool_call> it</think>no", thinking=True) == reply(
        "no", "I could <tool_call> it"
    )
    assert parse(f"hm</think>Now:\n{CALL}\n{CALL}", thinking=True) == reply(
        "Now:", "hm", call, call
    )


def test_ill_formed_calls_stay_text(parse):
    cut = CALL[: CALL.index("\n</parameter>")]
    assert parse(f"</think>{cut}", thinking=True) == reply(cut)
    assert parse(f"</think>{cut}\n{CALL}", thinking=True).tool_calls[-1].name == "f"
    unclosed = CALL.removesuffix("\n</tool_call>")
    assert parse(f"</think>{unclosed}", thinking=True).tool_calls == (ToolCall("f", {"x": "1"}),)


def test_values_may_hold_other_tags(parse):
    value = "</function>\n</tool_call>\n\n  x\n"
    text = f"<tool_call>\n<function=f>\n<parameter=x>\n{value}\n</parameter>\n</function>\n</tool_call>"
    assert parse(text, thinking=False).tool_calls == (ToolCall("f", {"x": value}),)


@pytest.mark.parametrize(
    ("text", "declared", "value"),
    [
        ("1", ["integer"], 1),
        ("-7", "integer", -7),
        ("1.5", "integer", "1.5"),
        ("1.5", "number", 1.5),
        ("1e3", "number", 1000.0),
        ("1e999", "number", "1e999"),
        ("nan", "number", "nan"),
        ("True", "boolean", True),
        ("0", "boolean", False),
        ("0", ["boolean", "integer"], 0),
        ("yes", "boolean", "yes"),
        ("null", ["null", "string"], None),
        ("null", "string", "null"),
        ('{"a": [1]}', "object", {"a": [1]}),
        ("[1, 2]", "array", [1, 2]),
        ("[1, 2]", "object", "[1, 2]"),
        ("[NaN]", "array", "[NaN]"),
        ("__import__('os')", "object", "__import__('os')"),
        ("[" * 100_000, "array", "[" * 100_000),
        ("9" * 5000, "integer", "9" * 5000),
        ("1", None, "1"),
    ],
)
def test_values_take_the_declared_type(text, declared, value):
    found = convert(text, None if declared is None else {"type": declared})
    assert found == value
    assert type(found) is type(value)


def test_long_garbage_is_read_in_linear_time(parse):
    started = time.perf_counter()
    parse("<tool_call>" * 20_000 + "<tool_call><function=f>" * 2_000, thinking=True)
    parse(("<tool_call><function=f><parameter=x>" + "y" * 50) * 1_000, thinking=False)
    assert time.perf_counter() - started < 2


def test_json_calls(tokenizers):
    chatml, nano = (tokenizers[g].renderer().parse for g in ("chatml", "nano_v2"))
    call = ToolCall("f", {"x": [1, None]})
    block = '<tool_call>\n{"name": "f", "arguments": {"x": [1, null]}}\n</tool_call>'
    assert chatml(f"<think>\nhm\n</think>\n\nsee\n{block}\n{block}", thinking=True) == reply(
        "see", "hm", call, call
    )
    assert chatml("no thought", thinking=True) == reply("no thought")
    assert chatml("<think>open", thinking=True) == reply("", "open")
    assert chatml('<tool_call>\n{"name": 3}\n</tool_call>', thinking=False).tool_calls == ()
    text = (
        'hm\n</think>\n\n<TOOLCALL>[{"name": "f", "arguments": "{\\"x\\": [1, null]}"}]</TOOLCALL>'
    )
    assert nano(text, thinking=True) == reply("", "hm", call)
    assert nano("</think><TOOLCALL>[3]</TOOLCALL>", thinking=True).tool_calls == ()
    assert nano(
        '</think><TOOLCALL>[{"name": "</TOOLCALL>"}]</TOOLCALL>', thinking=True
    ).tool_calls == (ToolCall("</TOOLCALL>", {}),)
