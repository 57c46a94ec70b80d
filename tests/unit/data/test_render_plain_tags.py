"""Nano v2 and ChatML: think tags are spelled, or opened by the model."""

import pytest

from nautiloid.core.errors import InputError
from nautiloid.core.types import Message, ToolCall
from nautiloid.data.tokenizer import Tokenizer

CORPUS = ["System\nUser\nAssistant\n<think>\nhm\n</think>\n\nyes <think></think>no\n" * 3] * 10
TOOL = {"name": "f", "parameters": {"properties": {}}}
CALLS = (ToolCall("f", {"x": 1}), ToolCall("f", {"y": "é"}))
CHAT = [
    Message("system", "Be brief."),
    Message("user", "one"),
    Message("assistant", "first", reasoning="old"),
    Message("user", "two"),
    Message("assistant", "see", reasoning="new", tool_calls=CALLS),
    Message("tool", "r1"),
    Message("tool", "r2"),
    Message("assistant", "done", reasoning="last"),
]


@pytest.fixture(scope="module")
def nano():
    return Tokenizer.train(CORPUS, 400, "nano_v2")


@pytest.fixture(scope="module")
def chatml():
    return Tokenizer.train(CORPUS, 400, "chatml")


def parts(tokenizer, *args, **options):
    rendered = tokenizer.renderer().render(*args, **options)
    marked = zip(rendered.ids, rendered.trains, strict=True)
    return tokenizer.decode(rendered.ids), tokenizer.decode([i for i, t in marked if t])


def test_nano_v2_conversation(nano):
    text, trained = parts(nano, CHAT)
    assert text == (
        "<SPECIAL_10>System\nBe brief.\n<SPECIAL_11>User\none\n<SPECIAL_11>Assistant\nfirst\n<SPECIAL_12>\n"
        "<SPECIAL_11>User\ntwo\n<SPECIAL_11>Assistant\n<think>\nnew\n</think>\n\nsee\n"
        '<TOOLCALL>[{"name": "f", "arguments": {"x": 1}}, {"name": "f", "arguments": {"y": "é"}}]</TOOLCALL>'
        "\n<SPECIAL_12>\n<SPECIAL_11>User\n<TOOL_RESPONSE>[r1, r2]</TOOL_RESPONSE>\n"
        "<SPECIAL_11>Assistant\n<think>\nlast\n</think>\n\ndone\n<SPECIAL_12>\n"
    )
    assert trained.endswith("</TOOLCALL>\n<SPECIAL_12>last\n</think>\n\ndone\n<SPECIAL_12>")
    assert trained.startswith("first\n<SPECIAL_12>new")
    tooled, _ = parts(nano, CHAT[:2], [TOOL])
    assert f"Be brief.\n\n{nano.renderer().tools_intro}" in tooled
    assert (
        '<AVAILABLE_TOOLS>[{"name": "f", "parameters": {"properties": {}}}]</AVAILABLE_TOOLS>'
        in tooled
    )


def test_nano_v2_switches(nano):
    renderer = nano.renderer()
    ask = [Message("system", "/no_think Be"), Message("user", "hi")]
    assert nano.decode(renderer.prompt(ask)) == (
        "<SPECIAL_10>System\n Be\n<SPECIAL_11>User\nhi\n<SPECIAL_11>Assistant\n<think></think>"
    )
    back = [*ask, Message("assistant", "/no_think"), Message("user", "/no_think/think")]
    assert renderer.thinks(back, False)
    assert nano.decode(renderer.prompt(back)).endswith("User\n\n<SPECIAL_11>Assistant\n<think>\n")
    assert not renderer.thinks([Message("user", "x")], False)
    off, _ = parts(nano, [*ask, Message("assistant", "yes", reasoning="hm")])
    assert off.endswith("Assistant\n<think></think>yes\n<SPECIAL_12>\n")


def test_nano_v2_encodes_prompt_and_reply_apart(nano):
    renderer = nano.renderer()
    messages = [Message("user", "hi"), Message("assistant", "no")]
    ids = renderer.render(messages).ids
    prompt = renderer.prompt(messages[:1], thinking=False)
    assert ids[: len(prompt)] == prompt
    assert ids[len(prompt) :] == nano.encode("no\n<SPECIAL_12>\n", allow_special=True)
    assert ids != nano.encode(nano.decode(ids), allow_special=True)


def test_nano_v2_budget_masks_the_spelled_tag(nano):
    messages = [Message("user", "hi"), Message("assistant", "yes", reasoning="hm hm hm hm")]
    text, trained = parts(nano, messages, mode="budget", budget_tokens=2)
    assert "</think>\n\nyes" in text
    assert "think" not in trained
    assert trained.endswith("yes\n<SPECIAL_12>")
    with pytest.raises(InputError, match="leave it out"):
        nano.renderer().prompt(messages[:1], effort="low")


def test_nano_v2_wants_one_system_message_first(nano):
    with pytest.raises(InputError, match="has it first, once"):
        nano.renderer().prompt([Message("user", "hi"), Message("system", "late")])


def test_chatml_conversation(chatml):
    text, trained = parts(chatml, CHAT)
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\none<|im_end|>\n"
        "<|im_start|>assistant\nfirst<|im_end|>\n<|im_start|>user\ntwo<|im_end|>\n"
        "<|im_start|>assistant\n<think>\nnew\n</think>\n\nsee\n"
        '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>\n'
        '<tool_call>\n{"name": "f", "arguments": {"y": "é"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\nr1\n</tool_response>\n<tool_response>\nr2\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n<think>\nlast\n</think>\n\ndone<|im_end|>\n"
    )
    assert trained.endswith("<think>\nlast\n</think>\n\ndone<|im_end|>")
    text, trained = parts(chatml, CHAT[1:3], mode="off")
    assert text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\nfirst<|im_end|>\n")
    assert text.startswith("<|im_start|>user")
    assert trained == "first<|im_end|>"
    assert chatml.decode(chatml.renderer().prompt(CHAT[:2])).endswith("<|im_start|>assistant\n")
