"""A conversation on the terminal."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from nautiloid.core.config import to_json
from nautiloid.core.errors import InputError
from nautiloid.core.files import write_json
from nautiloid.core.types import Message, SamplingParams
from nautiloid.engine.engine import Engine

HELP = """\
/think on|off   think before answering, or not
/budget N       close the thinking after N tokens; /budget off lifts the limit
/system TEXT    set the system message; without TEXT it goes away
/reset          forget the conversation
/save FILE      write the conversation as JSON
/help           this text
/quit           leave"""


@dataclass
class Chat:
    """One conversation and its settings.

    Args:
        engine: Answers.
        console: Where everything is shown.
        params: Sampling; the budget in it is what `/budget` changes.
        thinking: Whether answers start with reasoning.
    """

    engine: Engine
    console: Console
    params: SamplingParams
    thinking: bool = True
    system: str | None = None
    turns: list[Message] = field(default_factory=list)

    @property
    def messages(self) -> list[Message]:
        """The conversation with its system message."""
        return ([Message("system", self.system)] if self.system else []) + self.turns

    def read(self, line: str) -> bool:
        """Answer a line or obey a command; False when it was `/quit`.

        A mistake is shown and leaves the conversation as it was.
        """
        line = line.strip()
        try:
            if line.startswith("/"):
                return self._command(line)
            if line:
                self._answer(line)
        except (InputError, OSError) as error:
            self.console.print(Text(str(error), style="red"))
        return True

    def _answer(self, text: str) -> None:
        asked = Message("user", text)
        stream = self.engine.stream([*self.messages, asked], self.params, thinking=self.thinking)
        thought = ""
        completion = None
        try:
            for delta in stream:
                if delta.reasoning:
                    thought = delta.reasoning
                    self.console.print(Text(delta.reasoning, style="dim"), end="", soft_wrap=True)
                if delta.content:
                    if thought:  # one empty line between the two
                        self.console.print(end="\n" if thought.endswith("\n") else "\n\n")
                        thought = ""
                    self.console.print(Text(delta.content), end="", soft_wrap=True)
                completion = delta.completion
        except KeyboardInterrupt:
            stream.close()
            self.console.print(Text("\n(stopped; this turn is forgotten)", style="dim"))
            return
        self.console.print()
        assert completion is not None
        if completion.finish_reason in ("length", "error"):
            why = (
                "token limit reached"
                if completion.finish_reason == "length"
                else "the model failed"
            )
            self.console.print(Text(f"({why})", style="dim"))
        if completion.finish_reason != "error":
            answer = Message(
                "assistant",
                completion.content,
                reasoning=completion.reasoning,
                tool_calls=completion.tool_calls,
            )
            self.turns += [asked, answer]

    def _command(self, line: str) -> bool:
        name, _, rest = line[1:].partition(" ")
        if name in ("quit", "exit"):
            return False
        commands: dict[str, Callable[[str], str]] = {
            "think": self._think,
            "budget": self._budget,
            "system": self._system,
            "reset": self._reset,
            "save": self._save,
            "help": lambda _: HELP,
        }
        if name not in commands:
            raise InputError(f"/{name}", None, "no such command; /help lists them")
        self.console.print(Text(commands[name](rest.strip()), style="dim"))
        return True

    def _think(self, rest: str) -> str:
        if rest not in ("on", "off"):
            raise InputError("/think", rest or None, "use on or off")
        self.thinking = rest == "on"
        return f"thinking {rest}"

    def _budget(self, rest: str) -> str:
        if rest in ("", "off"):
            self.params = replace(self.params, thinking_budget_tokens=None)
            return "no thinking budget"
        if not rest.isdecimal():
            raise InputError("/budget", rest, "use a number of tokens, or off")
        self.params = replace(self.params, thinking_budget_tokens=int(rest))
        return f"thinking budget {int(rest)} tokens"

    def _system(self, rest: str) -> str:
        self.system = rest or None
        return "system message set" if rest else "no system message"

    def _reset(self, rest: str) -> str:
        self.turns.clear()
        return "conversation forgotten"

    def _save(self, rest: str) -> str:
        if not rest:
            raise InputError("/save", None, "name a file")
        path = Path(rest).expanduser()
        if path.is_dir():
            raise InputError("/save", rest, "is a folder; name a file")
        write_json(path, {"messages": [to_json(message) for message in self.messages]})
        return f"saved {len(self.messages)} messages to {path}"


def chat(
    model: str | os.PathLike[str],
    *,
    params: SamplingParams | None = None,
    thinking: bool = True,
    system: str | None = None,
    device: str = "cpu",
    lines: Iterable[str] | None = None,
    console: Console | None = None,
) -> None:
    """Talk with a model folder until the input ends or `/quit`.

    Args:
        model: Folder with weights and tokenizer.
        params: Sampling; temperature 0.6 and up to 1024 tokens when None.
        lines: What is said; None reads the terminal, or standard input when it is piped.
    """
    console = console or Console(highlight=False)
    engine = Engine(model, max_batch=1, device=device)
    if engine.tokenizer is None:
        raise InputError(str(model), None, "holds no tokenizer, so nobody can talk with it")
    params = params or SamplingParams(temperature=0.6, top_p=0.95, max_tokens=1024)
    session = Chat(engine, console, params, thinking=thinking, system=system)
    console.print(Text(f"{model}: say something, or /help", style="dim"))
    for line in _typed(console) if lines is None else lines:
        if not session.read(line):
            return


def _typed(console: Console) -> Iterable[str]:
    """Lines of standard input; the prompt is shown to people only."""
    with contextlib.suppress(ImportError):
        importlib.import_module("readline")  # `input` then edits lines and remembers them
    while True:
        try:
            yield input("> " if console.is_terminal else "")
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
