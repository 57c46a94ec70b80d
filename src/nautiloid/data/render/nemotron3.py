"""The grammar of Nemotron 3 Nano and Super (specs: architecture 8.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from nautiloid.core.types import ToolCall
from nautiloid.data.render import _xml_calls
from nautiloid.data.render._script import Script
from nautiloid.data.render.base import CLOSE, Renderer, Tools, Turn


@Renderer.registry("nemotron3")
class Nemotron3(Renderer):
    """Roles between `<|im_start|>` and `<|im_end|>`, think tags and call tags as single tokens.

    Attributes:
        breaks_around_close: A newline stands on each side of the closing think tag.
    """

    layout = {
        10: "<|im_start|>",
        11: "<|im_end|>",
        12: "<think>",
        13: "</think>",
        14: "<tool_call>",
        15: "</tool_call>",
    }
    ends = ("</s>", "<|im_end|>")
    needs = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
    marks = ("<|im_start|>", "truncate_history_thinking", "<function=")
    efforts = {"low": "low"}
    template = "nemotron3.jinja"
    tools_intro = _xml_calls.TOOLS_INTRO
    tools_format = _xml_calls.TOOLS_FORMAT
    call_start = _xml_calls.CALL_START
    breaks_around_close: ClassVar[bool] = True

    def _write(self, script: Script, turns: Sequence[Turn], tools: Tools) -> None:
        rest = list(turns)
        first = rest.pop(0) if rest and rest[0].role == "system" else None
        script.fixed("<|im_start|>system\n")
        if first is not None:
            script.plain(first.text, first.trains)
        if tools:
            if first is not None and first.text:
                script.fixed("\n\n")
            _xml_calls.write_tools(script, tools)
        script.fixed("<|im_end|>", first is not None and first.trains)
        script.fixed("\n")
        for i, turn in enumerate(rest):
            if turn.role == "assistant":
                self._write_assistant(script, turn)
                continue
            is_tool = turn.role == "tool"
            if not is_tool or i == 0 or rest[i - 1].role != "tool":
                script.fixed(f"<|im_start|>{'user' if is_tool else turn.role}\n")
            if is_tool:
                script.fixed("<tool_response>\n", turn.trains)
                script.plain(turn.text, turn.trains)
                script.fixed("\n</tool_response>\n", turn.trains)
            else:
                script.plain(turn.text, turn.trains)
            if not is_tool or i + 1 == len(rest) or rest[i + 1].role != "tool":
                script.fixed("<|im_end|>", turn.trains)
                script.fixed("\n")

    def _write_assistant(self, script: Script, turn: Turn) -> None:
        trains = turn.trains
        text = turn.text.strip() if turn.calls else turn.text
        self._open(script, thinking=turn.keeps_reasoning)
        script.cut()
        if turn.keeps_reasoning:
            assert turn.reasoning is not None
            script.plain(turn.reasoning, trains)
            if self.breaks_around_close and turn.reasoning:
                script.fixed("\n", trains)
            script.fixed(CLOSE, trains and not turn.is_cut)
        # Published templates keep the newline after the tag when they drop old reasoning, except
        # in turns with calls, whose text they trim.
        has_break = (
            turn.keeps_reasoning and text != "" if turn.calls else turn.reasoning is not None
        )
        if self.breaks_around_close and has_break:
            script.fixed("\n", trains)
        script.plain(text, trains)
        if turn.calls:
            script.fixed("\n", trains)
            for call in turn.calls:
                _xml_calls.write_call(script, call, trains)
        script.fixed("<|im_end|>", trains)
        script.fixed("\n")

    def _open(self, script: Script, *, thinking: bool) -> None:
        script.fixed("<|im_start|>assistant\n<think>" + ("\n" if thinking else "</think>"))

    def _calls(self, text: str, tools: Tools) -> tuple[str, tuple[ToolCall, ...]]:
        return _xml_calls.read_calls(text, tools)
