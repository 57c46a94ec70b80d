"""What every chat grammar shares: preparing the turns, the generation prompt, the parser."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar

from nautiloid.core.errors import InputError
from nautiloid.core.registry import Registry
from nautiloid.core.types import Message, Role, ThinkingMode, ToolCall
from nautiloid.data.render._script import Rendered, Script

if TYPE_CHECKING:
    from nautiloid.data.tokenizer import Tokenizer

Tools = Sequence[Mapping[str, Any]]
OPEN, CLOSE = "<think>", "</think>"


class Grammars(Registry):
    """The registry of grammars; this file is not one of them."""

    def names(self) -> list[str]:
        """Names of the shipped grammars, sorted."""
        return [name for name in super().names() if name != "base"]


@dataclass(frozen=True, slots=True)
class Turn:
    """A message made ready for writing.

    Args:
        role: Who speaks.
        text: Content, with the cue appended on the last user turn.
        reasoning: Reasoning without white space around it; None when there is none. Known of past
            turns also when it is not written.
        is_cut: The reasoning was cut to its budget, so its end is not something to learn.
        calls: Tool calls.
        trains: Whether body and end token are targets.
        is_past: A later user turn exists: reasoning is dropped unless history is kept whole.
        keeps_reasoning: Whether the reasoning is written.
    """

    role: Role
    text: str
    reasoning: str | None
    is_cut: bool
    calls: tuple[ToolCall, ...]
    trains: bool
    is_past: bool
    keeps_reasoning: bool


class Renderer(ABC):
    """A chat grammar bound to a tokenizer: messages to ids, ids back to a message.

    Attributes:
        layout: Ids and names of the special tokens that a new vocabulary gets.
        ends: Special tokens that end a generation; the last one must exist.
        needs: Special tokens without which the grammar cannot be written.
        marks: Words that tell published chat templates of the grammar from those of others.
        efforts: Words of the effort cue, by the name that callers use.
        opens_reasoning: The generation prompt holds the opening think tag.
        template: Name of the Jinja file beside this one.
        tools_intro: What stands before the tool declarations.
        tools_format: What stands after them, saying how to call.
        call_start: Matches where a tool call begins.
    """

    registry: ClassVar[Registry] = Grammars("grammar", "nautiloid.data.render")
    layout: ClassVar[Mapping[int, str]]
    ends: ClassVar[tuple[str, ...]]
    needs: ClassVar[tuple[str, ...]]
    marks: ClassVar[tuple[str, ...]]
    efforts: ClassVar[Mapping[str, str]] = {}
    opens_reasoning: ClassVar[bool] = True
    template: ClassVar[str]
    tools_intro: ClassVar[str]
    tools_format: ClassVar[str]
    call_start: ClassVar[re.Pattern[str]]

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        for name in self.needs:
            if name not in tokenizer.specials:
                raise InputError(
                    "tokenizer.json",
                    name,
                    f"the {tokenizer.grammar} grammar needs this special token",
                )
        specials = tokenizer.specials
        self.stop_ids: tuple[int, ...] = tuple(
            specials[end] for end in self.ends if end in specials
        )
        self.think_end_ids: tuple[int, ...] = tuple(tokenizer.encode(CLOSE, allow_special=True))

    def render(
        self,
        messages: Sequence[Message],
        tools: Tools = (),
        *,
        mode: ThinkingMode = "on",
        budget_tokens: int | None = None,
        effort: str | None = None,
        truncate_history: bool = True,
    ) -> Rendered:
        """Write a conversation as ids with loss marks.

        Args:
            messages: The conversation.
            tools: Declarations of the tools (OpenAI function objects).
            mode: `on` keeps the reasoning of the messages, `off` drops it, `budget` names
                `budget_tokens` in the prompt and cuts longer reasoning to it; the closing tag
                of reasoning that was cut is no target.
            budget_tokens: Tokens of reasoning in mode `budget`.
            effort: Name of an effort level that the grammar has a cue for.
            truncate_history: Drop the reasoning of turns before the last user message.

        Raises:
            InputError: Media, an effort the grammar lacks, or a budget without its mode.
        """
        if (mode == "budget") != (budget_tokens is not None):
            raise InputError(
                "budget_tokens", budget_tokens, f"goes with mode 'budget'; the mode is {mode!r}"
            )
        thinking = mode != "off" and self.thinks(messages, True)
        if not thinking:
            budget_tokens = effort = None
        turns = self._prepare(messages, thinking, budget_tokens, effort, truncate_history)
        if budget_tokens is not None:
            turns = [self._within_budget(turn, budget_tokens) for turn in turns]
        script = Script(self.tokenizer)
        self._write(script, turns, tools)
        return script.encode()

    def prompt(
        self,
        messages: Sequence[Message],
        tools: Tools = (),
        *,
        thinking: bool = True,
        budget_tokens: int | None = None,
        effort: str | None = None,
        truncate_history: bool = True,
    ) -> list[int]:
        """Ids that ask for the next assistant turn: an exact prefix of that turn's rendering.

        Budget and effort cues are left out when thinking is off: they have nothing to say.
        """
        thinking = self.thinks(messages, thinking)
        if not thinking:
            budget_tokens = effort = None
        script = Script(self.tokenizer)
        turns = self._prepare(messages, thinking, budget_tokens, effort, truncate_history)
        self._write(script, turns, tools)
        self._open(script, thinking=thinking)
        return script.encode().ids

    def parse(
        self,
        output: str | Sequence[int],
        *,
        thinking: bool,
        tools: Tools = (),
        force_nonempty_content: bool = False,
    ) -> Message:
        """Read what the model generated after `prompt`.

        Args:
            output: Generated ids (a stop id ends them) or text.
            thinking: Whether the prompt asked for thinking.
            tools: Declarations by which arguments of calls are converted.
            force_nonempty_content: Return reasoning as content when there is no content.

        Returns:
            An assistant message. Reasoning ends at the first closing tag, or where a tool call
            begins before it; without either, all is reasoning.
        """
        reasoning, rest = self._split(output)
        content, calls = self._calls(rest, tools)
        reasoning, content = reasoning.strip(), content.strip()
        if not content and (not thinking or force_nonempty_content):
            reasoning, content = "", reasoning
        return Message("assistant", content, reasoning=reasoning or None, tool_calls=calls)

    def thinks(self, messages: Sequence[Message], thinking: bool) -> bool:
        """Whether the turn after `messages` thinks, when the caller asks for `thinking`."""
        return thinking

    def chat_template(self) -> str:
        """A Jinja template that writes the same conversation."""
        text = files("nautiloid.data.render").joinpath(self.template).read_text(encoding="utf-8")
        for slot, value in (("@INTRO@", self.tools_intro), ("@FORMAT@", self.tools_format)):
            quoted = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
            text = text.replace(slot, quoted)
        return text

    @abstractmethod
    def _write(self, script: Script, turns: Sequence[Turn], tools: Tools) -> None:
        """Add the whole conversation to `script`."""

    @abstractmethod
    def _open(self, script: Script, *, thinking: bool) -> None:
        """Add the generation prompt to `script`."""

    @abstractmethod
    def _calls(self, text: str, tools: Tools) -> tuple[str, tuple[ToolCall, ...]]:
        """Split the text after the reasoning into content and tool calls."""

    def _clean(self, text: str) -> str:
        """Take switches of the grammar out of system and user text."""
        return text

    def _prepare(
        self,
        messages: Sequence[Message],
        thinking: bool,
        budget_tokens: int | None,
        effort: str | None,
        truncate_history: bool,
    ) -> list[Turn]:
        last_user = max((i for i, m in enumerate(messages) if m.role == "user"), default=-1)
        cue = self._cue(budget_tokens, effort)
        if cue and last_user < 0:
            raise InputError("messages", None, "a budget or effort cue needs a user message")
        turns: list[Turn] = []
        for i, message in enumerate(messages):
            for part in message.media:
                grammar = self.tokenizer.grammar
                raise InputError(
                    f"messages.{i}", part.ref, f"the {grammar} grammar reads text only"
                )
            is_past = i < last_user
            text, reasoning = message.text, message.reasoning
            if message.role == "assistant":
                if reasoning is None:
                    reasoning, text = _embedded_reasoning(text)
                reasoning = (reasoning or "").strip() or None
                if not thinking and not is_past:
                    reasoning = None
            elif message.role != "tool":
                text = self._clean(text) + (cue if i == last_user else "")
            turns.append(
                Turn(
                    role=message.role,
                    text=text,
                    reasoning=reasoning,
                    is_cut=False,
                    calls=message.tool_calls,
                    trains=message.role == "assistant"
                    if message.trains is None
                    else message.trains,
                    is_past=is_past,
                    keeps_reasoning=thinking
                    and reasoning is not None
                    and not (is_past and truncate_history),
                )
            )
        return turns

    def _cue(self, budget_tokens: int | None, effort: str | None) -> str:
        cue = ""
        if effort is not None:
            if effort not in self.efforts:
                known = f"use one of {', '.join(self.efforts)}" if self.efforts else "leave it out"
                raise InputError(
                    "effort", effort, f"no cue in the {self.tokenizer.grammar} grammar; {known}"
                )
            cue += "\n\n{reasoning effort: " + self.efforts[effort] + "}"
        if budget_tokens is not None:
            if budget_tokens < 0:
                raise InputError("budget_tokens", budget_tokens, "use 0 or more")
            cue += "\n\n{thinking token budget: " + str(budget_tokens) + "}"
        return cue

    def _within_budget(self, turn: Turn, budget_tokens: int) -> Turn:
        """Cut the reasoning of a turn after the last user message to the budget."""
        if turn.reasoning is None or turn.is_past:
            return turn
        whole = self.tokenizer.encode(turn.reasoning)
        if len(whole) <= budget_tokens:
            return turn
        text, count = turn.reasoning, budget_tokens
        # A cut inside a word or a character can change how the end is encoded: look, go shorter.
        while len(self.tokenizer.encode(text)) > budget_tokens:
            text = self.tokenizer.decode(whole[:count]).rstrip("\ufffd").rstrip()
            count -= 1
        return replace(turn, reasoning=text, is_cut=True)

    def _split(self, output: str | Sequence[int]) -> tuple[str, str]:
        """Reasoning and what follows it."""
        if isinstance(output, str):
            head, close, rest = self._without_end(output).partition(CLOSE)
        else:
            head, close, rest = self._split_ids(list(output))
        call = self.call_start.search(head)
        if call is not None:
            return _without_open(head[: call.start()]), head[call.start() :] + close + rest
        if not close and not self.opens_reasoning and not head.lstrip().startswith(OPEN):
            return "", head
        return _without_open(head), rest

    def _split_ids(self, ids: list[int]) -> tuple[str, str, str]:
        end = next((i for i, token in enumerate(ids) if token in self.stop_ids), len(ids))
        ids = ids[:end]
        decode = self.tokenizer.decode
        if len(self.think_end_ids) != 1:  # an ordinary text may be spelled in several ways
            return decode(ids).partition(CLOSE)
        close = self.think_end_ids[0]
        if close not in ids:
            return decode(ids), "", ""
        at = ids.index(close)
        return decode(ids[:at]), CLOSE, decode(ids[at + 1 :])

    def _without_end(self, text: str) -> str:
        shown = text.rstrip("\n")
        for end in self.ends:
            if shown.endswith(end):
                return shown.removesuffix(end)
        return text


def functions(tools: Tools) -> list[Mapping[str, Any]]:
    """The function objects of tool declarations, wrapped as OpenAI does or bare.

    Raises:
        InputError: A declaration has no name.
    """
    found: list[Mapping[str, Any]] = [tool.get("function", tool) for tool in tools]
    for i, function in enumerate(found):
        if not isinstance(function.get("name"), str):
            raise InputError(f"tools.{i}", None, "give each tool a name")
    return found


def json_text(value: Any) -> str:
    """JSON as chat templates write it: one line, a space after commas and colons, no escapes."""
    return json.dumps(value, ensure_ascii=False, default=dict)


def strict_json(text: str, start: int = 0) -> tuple[Any, int]:
    """Decode the JSON value at `start`; returns it and where it ends. NaN and infinities are refused.

    Raises:
        ValueError: There is no valid value.
    """

    def refuse(name: str) -> Any:
        raise ValueError(name)

    try:
        return json.JSONDecoder(parse_constant=refuse).raw_decode(text, start)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _embedded_reasoning(text: str) -> tuple[str | None, str]:
    """Split content that carries its own think block, as many data sets store it."""
    if text.lstrip().startswith(OPEN) and CLOSE in text:
        reasoning, _, content = text.partition(CLOSE)
        return _without_open(reasoning), content.lstrip()
    return None, text


def _without_open(text: str) -> str:
    return text.lstrip().removeprefix(OPEN)
