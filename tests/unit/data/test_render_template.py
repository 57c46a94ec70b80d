"""The exported templates write what the renderers write."""

import itertools
import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from nautiloid.core.types import Message, ToolCall
from nautiloid.data.tokenizer import Tokenizer

GRAMMARS = ("nemotron3", "nemotron3_ultra", "chatml", "nano_v2")
CORPUS = [
    "system\nuser\nassistant\nfunction one(x):\n\n    return x/y;\n\n\nSystem\nUser\nAssistant\n",
    "A first line.\n\nA second one!\n/path/to (x)\n  indented:\n\n\tmore...\n</b>\n\n<think>\n",
    "</think>\n\n</think>yes <think></think>no <think>\n/a\n\n{thinking token budget: 12}\n",
    '[{"name": "add", "arguments": {"a": 1}}]\n<tool_response>\n3\n</tool_response>\n',
] * 30


@pytest.fixture(scope="module")
def tokenizers():
    return {grammar: Tokenizer.train(CORPUS, 640, grammar) for grammar in GRAMMARS}


@pytest.fixture(scope="module")
def templates(tokenizers):
    # as transformers and vLLM do
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return {
        grammar: environment.from_string(tokenizer.renderer().chat_template())
        for grammar, tokenizer in tokenizers.items()
    }


pieces = st.sampled_from(
    [
        "a",
        "the",
        " b",
        "B7",
        ".",
        "\n",
        "\n\n",
        " ",
        "  ",
        "\t",
        "/",
        "//x",
        "\r\n",
        "(",
        "<",
        ">",
        "é",
        "価",
        "\u2028",
        "\x1c",
        "\x85",
        "\u3000",
        "'s",
        "{",
        "}",
        "</b>",
        "-",
        "?!",
        "12",
    ]
)
text = st.one_of(st.lists(pieces, max_size=8).map("".join), st.text(max_size=6))
SPECIAL = re.compile(r"<(unk|/?s|/?think|/?tool_call|\|im_(start|end)\||SPECIAL_\d+)>|/(no_)?think")
text = text.filter(lambda t: not SPECIAL.search(t))
name = st.sampled_from(["add", "find_file", "x1"])
value = st.one_of(
    text, st.integers(), st.booleans(), st.none(), st.lists(text, max_size=2), st.just({"k": [1.5]})
)
calls = st.lists(
    st.builds(ToolCall, name=name, arguments=st.dictionaries(name, value, max_size=2)), max_size=2
).map(tuple)
schema = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", ["integer", "null"]]),
        "description": text,
        "enum": st.lists(text, max_size=2),
        "default": value,
    },
)
tool = st.fixed_dictionaries(
    {"name": name},
    optional={
        "description": text,
        "strict": st.booleans(),
        "parameters": st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(name, schema, max_size=2)},
            optional={
                "required": st.lists(name, max_size=2),
                "additionalProperties": st.just(False),
            },
        ),
    },
)
tools = st.lists(tool, max_size=2).flatmap(
    lambda found: st.sampled_from([found, [{"type": "function", "function": f} for f in found]])
)


@st.composite
def conversations(draw):
    """User turns, each answered by a tool loop and a reply; the last one may be open."""
    messages = [Message("system", draw(text))] if draw(st.booleans()) else []
    reasoning = st.one_of(st.none(), text)
    for _ in range(draw(st.integers(1, 3))):
        messages.append(Message("user", draw(text)))
        for _ in range(draw(st.integers(0, 2))):
            made = draw(calls)
            messages.append(
                Message("assistant", draw(text), reasoning=draw(reasoning), tool_calls=made)
            )
            messages.extend(Message("tool", draw(text), name=call.name) for call in made)
        messages.append(Message("assistant", draw(text), reasoning=draw(reasoning)))
    return messages


def as_dicts(messages):
    for message in messages:
        shown = {"role": message.role, "content": message.text}
        if message.reasoning is not None:
            shown["reasoning_content"] = message.reasoning
        if message.tool_calls:
            shown["tool_calls"] = [
                {"type": "function", "function": {"name": c.name, "arguments": c.arguments}}
                for c in message.tool_calls
            ]
        yield shown


def write(template, messages, tools, **options):
    return template.render(messages=list(as_dicts(messages)), tools=tools, **options)


@pytest.mark.parametrize("grammar", GRAMMARS)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_template_and_renderer_agree(grammar, tokenizers, templates, data):
    tokenizer, template = tokenizers[grammar], templates[grammar]
    renderer = tokenizer.renderer()
    messages, declared = data.draw(conversations()), data.draw(tools)
    mode = data.draw(st.sampled_from(["on", "off"]))
    keep = data.draw(st.booleans())
    options = {"enable_thinking": mode == "on", "truncate_history_thinking": not keep}
    ids = renderer.render(messages, declared, mode=mode, truncate_history=not keep).ids
    written = write(template, messages, declared, **options)
    assert tokenizer.decode(ids) == written

    prompt = renderer.prompt(
        messages[:-1], declared, thinking=mode == "on", truncate_history=not keep
    )
    asked = write(template, messages[:-1], declared, add_generation_prompt=True, **options)
    assert tokenizer.decode(prompt) == asked
    if grammar != "nano_v2":  # spelled tags: prompts end inside a word, see the class
        assert ids == tokenizer.encode(written, allow_special=True)
        assert prompt == tokenizer.encode(asked, allow_special=True)
        return
    starts = []
    current = max(i for i, m in enumerate(messages) if m.role == "user")
    for i in range(current + 1, len(messages)):
        if messages[i].role == "assistant":
            thinks = mode == "on" and bool((messages[i].reasoning or "").strip())
            before = write(template, messages[:i], declared, **options)
            opening = "<think>\n" if thinks else "<think></think>"
            starts.append(len(f"{before}<SPECIAL_11>Assistant\n{opening}"))
    spans = itertools.pairwise([0, *starts, len(written)])
    split = [tokenizer.encode(written[a:b], allow_special=True) for a, b in spans]
    assert ids == [i for part in split for i in part]


@pytest.mark.parametrize("grammar", GRAMMARS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_prompt_is_a_prefix_of_the_final_turn(grammar, tokenizers, data):
    renderer = tokenizers[grammar].renderer()
    messages, declared = data.draw(conversations()), data.draw(tools)
    mode = data.draw(st.sampled_from(["on", "off", "budget"]))
    budget = data.draw(st.integers(0, 6)) if mode == "budget" else None
    if mode == "budget":  # a prompt never cuts what an earlier turn of the loop already thought
        messages = [*(replace(m, reasoning=None) for m in messages[:-1]), messages[-1]]
    rendered = renderer.render(messages, declared, mode=mode, budget_tokens=budget)
    has_reasoning = bool((messages[-1].reasoning or "").strip())
    if mode != "off" and not has_reasoning:
        return  # such a turn answers the prompt of the other mode
    prompt = renderer.prompt(messages[:-1], declared, thinking=mode != "off", budget_tokens=budget)
    assert rendered.ids[: len(prompt)] == prompt
    assert not any(rendered.trains[len(prompt) - 3 : len(prompt)])
    ends = [i for i, token in enumerate(rendered.ids) if token in renderer.stop_ids]
    completion = range(len(prompt), ends[-1] + 1)
    assert all(rendered.trains[i] for i in completion) or mode == "budget"
    assert not any(rendered.trains[ends[-1] + 1 :])


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_cues_and_embedded_reasoning(grammar, tokenizers, templates):
    tokenizer, template = tokenizers[grammar], templates[grammar]
    renderer = tokenizer.renderer()
    messages = [
        Message("user", "a"),
        Message("assistant", "<think>why</think>b"),
        Message("user", "c"),
    ]
    written = write(template, messages, None, reasoning_budget=7, add_generation_prompt=True)
    assert "c\n\n{thinking token budget: 7}" in written
    assert "why" not in written
    assert renderer.prompt(messages, budget_tokens=7) == tokenizer.encode(
        written, allow_special=True
    )
    written = write(
        template,
        messages,
        None,
        reasoning_budget=7,
        enable_thinking=False,
        add_generation_prompt=True,
    )
    assert "budget" not in written
    assert tokenizer.decode(renderer.prompt(messages, thinking=False, budget_tokens=7)) == written
    for effort in renderer.efforts:
        option = {f"{effort}_effort": True}
        written = write(template, messages, None, add_generation_prompt=True, **option)
        assert "{reasoning effort: " in written
        assert tokenizer.decode(renderer.prompt(messages, effort=effort)) == written
