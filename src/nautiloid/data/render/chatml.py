"""ChatML as the Qwen3 family speaks it: the model itself opens its think block."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nautiloid.core.types import ToolCall
from nautiloid.data.render._json_calls import call_text, read_call
from nautiloid.data.render._script import Script
from nautiloid.data.render.base import (
    CLOSE,
    Renderer,
    Tools,
    Turn,
    functions,
    json_text,
    strict_json,
)

TOOLS_INTRO = (
    "# Tools\n\nThese functions are available to you, one JSON declaration a line:\n\n<tools>"
)
TOOLS_FORMAT = """
</tools>

To call functions, end your reply with one block like this for each call:

<tool_call>
{"name": "name_of_the_function", "arguments": {"first_parameter": "value"}}
</tool_call>"""


@Renderer.registry("chatml")
class ChatML(Renderer):
    """Roles between `<|im_start|>` and `<|im_end|>`, JSON calls, no system turn unless given.

    Works with vocabularies that hold think and call tags as tokens and with those that spell them.
    White space around assistant text is dropped. Where the tags are spelled and a reply begins
    with a slash, its ids differ from those of the exported template: there the generation prompt
    ends inside a word of the splitter, and an exact prompt comes first.
    """

    layout = {
        10: "<|im_start|>",
        11: "<|im_end|>",
        12: "<think>",
        13: "</think>",
        14: "<tool_call>",
        15: "</tool_call>",
    }
    ends = ("</s>", "<|endoftext|>", "<|im_end|>")
    needs = ("<|im_start|>", "<|im_end|>")
    marks = ("<|im_start|>",)
    opens_reasoning = False
    template = "chatml.jinja"
    tools_intro = TOOLS_INTRO
    tools_format = TOOLS_FORMAT
    call_start = re.compile(r"<tool_call>\s{0,64}(?=\{)")

    def _write(self, script: Script, turns: Sequence[Turn], tools: Tools) -> None:
        rest = list(turns)
        first = rest.pop(0) if rest and rest[0].role == "system" else None
        if first is not None or tools:
            trains = first is not None and first.trains
            script.fixed("<|im_start|>system\n")
            if first is not None:
                script.plain(first.text, trains)
            if tools:
                script.fixed(
                    ("\n\n" if first is not None and first.text else "") + self.tools_intro
                )
                for function in functions(tools):
                    script.plain("\n" + json_text({"type": "function", "function": function}))
                script.fixed(self.tools_format)
            script.fixed("<|im_end|>", trains)
            script.fixed("\n")
        for i, turn in enumerate(rest):
            if turn.role == "assistant":
                self._write_assistant(script, turn)
                continue
            is_tool = turn.role == "tool"
            if not is_tool or i == 0 or rest[i - 1].role != "tool":
                script.fixed(f"<|im_start|>{'user' if is_tool else turn.role}")
            script.fixed("\n")
            if is_tool:
                script.fixed("<tool_response>\n", turn.trains)
                script.plain(turn.text, turn.trains)
                script.fixed("\n</tool_response>", turn.trains)
            else:
                script.plain(turn.text, turn.trains)
            if not is_tool or i + 1 == len(rest) or rest[i + 1].role != "tool":
                script.fixed("<|im_end|>", turn.trains)
                script.fixed("\n")

    def _write_assistant(self, script: Script, turn: Turn) -> None:
        trains, text = turn.trains, turn.text.strip()
        self._open(script, thinking=turn.keeps_reasoning or turn.is_past)
        if not turn.is_past:
            script.cut()
        if turn.keeps_reasoning:
            assert turn.reasoning is not None
            script.fixed("<think>\n", trains)
            script.plain(turn.reasoning, trains)
            script.fixed("\n", trains)
            script.fixed(CLOSE, trains and not turn.is_cut)
            script.fixed("\n\n", trains)
        script.plain(text, trains)
        for i, call in enumerate(turn.calls):
            script.fixed("\n<tool_call>\n" if i or text else "<tool_call>\n", trains)
            script.plain(call_text(call), trains)
            script.fixed("\n</tool_call>", trains)
        script.fixed("<|im_end|>", trains)
        script.fixed("\n")

    def _open(self, script: Script, *, thinking: bool) -> None:
        script.fixed("<|im_start|>assistant\n" + ("" if thinking else "<think>\n\n</think>\n\n"))

    def _calls(self, text: str, tools: Tools) -> tuple[str, tuple[ToolCall, ...]]:
        calls: list[ToolCall] = []
        content, at = text, 0
        while (start := self.call_start.search(text, at)) is not None:
            at = start.end()
            try:
                value, end = strict_json(text, at)
                call = read_call(value)
            except ValueError:
                continue
            if not text[end:].lstrip().startswith("</tool_call>"):
                continue
            if not calls:
                content = text[: start.start()]
            calls.append(call)
            at = end
        return content, tuple(calls)
