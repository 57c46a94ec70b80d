"""The grammar of Nemotron Nano v2 (specs: architecture 8.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from nautiloid.core.errors import InputError
from nautiloid.core.types import Message, ToolCall
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

ON, OFF = "/think", "/no_think"
TOOLS_INTRO = (
    "These functions are available to you, as a JSON list between <AVAILABLE_TOOLS> and "
    "</AVAILABLE_TOOLS>:\n<AVAILABLE_TOOLS>["
)
TOOLS_FORMAT = """]</AVAILABLE_TOOLS>

To call functions, end your reply with a JSON list of calls in this form:
<TOOLCALL>[{"name": "name_of_the_function", "arguments": {"first_parameter": "value"}}]</TOOLCALL>
Results come back between <TOOL_RESPONSE> and </TOOL_RESPONSE>."""


@Renderer.registry("nano_v2")
class NanoV2(Renderer):
    """Roles as words behind `<SPECIAL_10>` and `<SPECIAL_11>`; think and call tags are ordinary text.

    `/think` and `/no_think` in system or user text switch the reasoning, the last one wins, and
    they are taken out of the text. White space around assistant text is dropped.

    The tags are spelled, so a generation prompt that ends in one may end inside a word of the
    splitter (`<think></think>` before any reply, `<think>` and newline before a slash). Prompt
    and reply are then encoded apart, as in serving, and the ids there differ from those of the
    exported template's text encoded in one piece; the text is the same.
    """

    layout = {}
    ends = ("</s>", "<SPECIAL_12>")
    needs = ("<SPECIAL_10>", "<SPECIAL_11>", "<SPECIAL_12>")
    marks = ("<SPECIAL_10>", "<SPECIAL_11>")
    template = "nano_v2.jinja"
    tools_intro = TOOLS_INTRO
    tools_format = TOOLS_FORMAT
    call_start = re.compile(r"<TOOLCALL>\s{0,64}(?=\[)")

    def thinks(self, messages: Sequence[Message], thinking: bool) -> bool:
        """The last switch in the text wins over the caller's wish."""
        for message in messages:
            if message.role in ("system", "user"):
                on, off = message.text.rfind(ON), message.text.rfind(OFF)
                thinking = on > off if on != off else thinking
        return thinking

    def _clean(self, text: str) -> str:
        return text.replace(ON, "").replace(OFF, "")

    def _write(self, script: Script, turns: Sequence[Turn], tools: Tools) -> None:
        rest = list(turns)
        first = rest.pop(0) if rest and rest[0].role == "system" else None
        trains = first is not None and first.trains
        script.fixed("<SPECIAL_10>System\n")
        if first is not None:
            script.plain(first.text, trains)
        if tools:
            script.fixed(("\n\n" if first is not None and first.text else "") + self.tools_intro)
            script.plain(", ".join(json_text(function) for function in functions(tools)))
            script.fixed(self.tools_format)
        script.fixed("\n")
        for role, group in groupby(rest, lambda turn: turn.role):
            if role == "tool":
                self._write_results(script, list(group))
                continue
            for turn in group:
                if role == "system":
                    raise InputError("messages", "system", "the nano_v2 grammar has it first, once")
                if role == "assistant":
                    self._write_assistant(script, turn)
                else:
                    script.fixed("<SPECIAL_11>User\n")
                    script.plain(turn.text, turn.trains)
                    script.fixed("\n")

    def _write_results(self, script: Script, turns: Sequence[Turn]) -> None:
        script.fixed("<SPECIAL_11>User\n<TOOL_RESPONSE>[")
        for i, turn in enumerate(turns):
            script.fixed(", " if i else "", turn.trains)
            script.plain(turn.text, turn.trains)
        script.fixed("]</TOOL_RESPONSE>\n")

    def _write_assistant(self, script: Script, turn: Turn) -> None:
        trains, text = turn.trains, turn.text.strip()
        if turn.is_past and not turn.keeps_reasoning:
            script.fixed("<SPECIAL_11>Assistant\n")
        else:
            self._open(script, thinking=turn.keeps_reasoning)
        if not turn.is_past:
            script.cut()
        if turn.keeps_reasoning:
            assert turn.reasoning is not None
            script.plain(turn.reasoning, trains)
            script.fixed("\n" if turn.reasoning else "", trains)
            script.fixed(CLOSE, trains and not turn.is_cut)
            script.fixed("\n\n", trains)
        script.plain(text, trains)
        if turn.calls:
            script.fixed("\n<TOOLCALL>[" if text else "<TOOLCALL>[", trains)
            script.plain(", ".join(call_text(call) for call in turn.calls), trains)
            script.fixed("]</TOOLCALL>", trains)
        script.fixed("\n<SPECIAL_12>", trains)
        script.fixed("\n")

    def _open(self, script: Script, *, thinking: bool) -> None:
        script.fixed("<SPECIAL_11>Assistant\n<think>" + ("\n" if thinking else "</think>"))

    def _calls(self, text: str, tools: Tools) -> tuple[str, tuple[ToolCall, ...]]:
        at = 0
        while (start := self.call_start.search(text, at)) is not None:
            at = start.end()
            try:
                values, end = strict_json(text, at)
                calls = tuple(read_call(value) for value in values)
            except ValueError:
                continue
            if calls and text[end:].lstrip().startswith("</TOOLCALL>"):
                return text[: start.start()], calls
        return text, ()
