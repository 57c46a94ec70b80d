"""A conversation on the terminal."""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.status import Status
from rich.text import Text

from nautiloid.core.config import from_json, to_json
from nautiloid.core.errors import InputError
from nautiloid.core.files import read_json, write_json
from nautiloid.core.types import Completion, Message, SamplingParams
from nautiloid.engine.engine import Engine
from nautiloid.engine.request import Delta

HELP = """\
/think on|off   think before answering, or not
/think show     show the last thoughts and those to come; /think fold folds them again
/budget N       close the thinking after N tokens; /budget off lifts the limit
/effort LEVEL   ask for less thinking; /effort off for the usual
/system TEXT    set the system message; without TEXT it goes away
/reset          forget the conversation
/save FILE      write the conversation as JSON
/load FILE      go on with a saved conversation
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
        is_folded: Whether reasoning is summed up in one line.
    """

    engine: Engine
    console: Console
    params: SamplingParams
    thinking: bool = True
    is_folded: bool = True
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
        started = time.monotonic()
        try:
            completion = self._show(stream)
        except KeyboardInterrupt:
            stream.close()
            self._note("\n(stopped; this turn is forgotten)")
            return
        seconds = time.monotonic() - started
        self.console.print()
        if completion.finish_reason == "length":
            self._note("(token limit reached)")
        if completion.finish_reason == "error":
            self._note("(the model failed)")
        else:
            answer = Message(
                "assistant",
                completion.content,
                reasoning=completion.reasoning,
                tool_calls=completion.tool_calls,
            )
            self.turns += [asked, answer]
        count, thought = len(completion.ids), completion.reasoning_tokens
        shares = f"{count} tokens" + (f" ({thought} of thinking)" if thought else "")
        rate = count / max(seconds, 1e-9)
        self._note(f"{len(completion.prompt_ids)} tokens read, {shares}, {rate:.1f} tok/s")

    def _show(self, stream: Iterable[Delta]) -> Completion:
        """Print an answer as it comes; the whole of it."""
        thoughts = _Thoughts(self.console, self.is_folded)
        completion: Completion | None = None
        try:
            thoughts.begin()
            for delta in stream:
                if delta.reasoning:
                    thoughts.add(delta.reasoning)
                thoughts.count(delta.reasoning_tokens)
                if delta.content:
                    thoughts.end()
                    self.console.print(Text(_plain(delta.content)), end="", soft_wrap=True)
                completion = delta.completion
        finally:
            thoughts.end()
        assert completion is not None
        return completion

    def _note(self, text: str) -> None:
        self.console.print(Text(text, style="dim"))

    def _command(self, line: str) -> bool:
        name, _, rest = line[1:].partition(" ")
        if name in ("quit", "exit"):
            return False
        commands: dict[str, Callable[[str], str]] = {
            "think": self._think,
            "budget": self._budget,
            "effort": self._effort,
            "system": self._system,
            "reset": self._reset,
            "save": self._save,
            "load": self._load,
            "help": lambda _: HELP,
        }
        if name not in commands:
            raise InputError(f"/{name}", None, "no such command; /help lists them")
        self._note(commands[name](rest.strip()))
        return True

    def _think(self, rest: str) -> str:
        if rest in ("show", "fold"):
            self.is_folded = rest == "fold"
            last = next((m for m in reversed(self.turns) if m.role == "assistant"), None)
            if self.is_folded or last is None:
                return f"thoughts are {'folded' if self.is_folded else 'shown'} from now on"
            return _plain(last.reasoning or "") or "there were no thoughts; those to come are shown"
        if rest not in ("on", "off"):
            raise InputError("/think", rest or None, "use on, off, show or fold")
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

    def _effort(self, rest: str) -> str:
        renderer = self.engine.output.renderer
        efforts = renderer.efforts if renderer else {}
        if rest in ("", "off"):
            self.params = replace(self.params, thinking_effort=None)
            return "the usual effort"
        if rest not in efforts:
            known = f"use {', '.join(efforts)} or off" if efforts else "this model has no levels"
            raise InputError("/effort", rest, known)
        self.params = replace(self.params, thinking_effort=rest)
        return f"{rest} effort"

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

    def _load(self, rest: str) -> str:
        if not rest:
            raise InputError("/load", None, "name a file")
        saved = read_json(Path(rest).expanduser())
        messages = saved.get("messages") if isinstance(saved, dict) else None
        loaded = list(from_json(tuple[Message, ...], messages or [], "messages"))
        if not loaded:
            raise InputError("/load", rest, "holds no conversation; name a file made by /save")
        self.system = loaded.pop(0).text if loaded[0].role == "system" else None
        self.turns = loaded
        return f"loaded {len(self.messages)} messages"


def _plain(text: str) -> str:
    """Text that cannot steer the terminal."""
    return text.translate(_CONTROLS)


_CONTROLS = {i: "\ufffd" for i in (*range(32), *range(127, 160)) if chr(i) not in "\n\t"}


class _Thoughts:
    """Reasoning on its way to the screen: in full, or counted in one line that then stands for it.

    Where the output is no terminal, only the final line is written.
    """

    def __init__(self, console: Console, is_folded: bool):
        self.console, self.is_folded = console, is_folded
        self.tokens = 0
        self.last = ""
        self.is_open = False
        self.status: Status | None = None

    def begin(self) -> None:
        """The prompt is being read."""
        if self.console.is_terminal:
            self.status = self.console.status(Text("reading", style="dim"))
            self.status.start()

    def add(self, text: str) -> None:
        """Show more of it."""
        self.is_open, self.last = True, text
        if not self.is_folded:
            self._quiet()
            self.console.print(Text(_plain(text), style="dim"), end="", soft_wrap=True)

    def count(self, tokens: int) -> None:
        """So many they are by now."""
        self.tokens = tokens
        if self.status is not None and self.is_open:
            self.status.update(Text(f"thinking, {self.tokens} tokens", style="dim"))

    def end(self) -> None:
        """The answer begins, or there is none."""
        self._quiet()
        if self.is_open:
            self.is_open = False
            if self.is_folded:
                summary = f"thought for {self.tokens} tokens (/think show unfolds)"
                self.console.print(Text(summary, style="dim"))
            else:  # one empty line between the two
                self.console.print(end="\n" if self.last.endswith("\n") else "\n\n")

    def _quiet(self) -> None:
        if self.status is not None:
            self.status.stop()
            self.status = None


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
    engine = Engine(model, max_batch=1, device=device, prefix_cache=True)
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
