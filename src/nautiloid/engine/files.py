"""Completions for every line of a file: constant memory, in order, resumable after a kill."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from nautiloid.core.config import to_json
from nautiloid.core.errors import InputError
from nautiloid.core.progress import progress
from nautiloid.core.sampling import SamplingParams, settings
from nautiloid.core.seed import Seed
from nautiloid.core.types import Completion
from nautiloid.data.files import decode
from nautiloid.data.records import read_messages
from nautiloid.engine.engine import Engine
from nautiloid.engine.lines import begin, lines_of, settings_of, survey
from nautiloid.engine.prompt import Prompt

MOST_LINE_BYTES = 16_000_000
FIELDS = ("id", "prompt", "messages", "tools", "thinking", "params")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """What `generate_file` did.

    Args:
        rows: Rows of the output, those of a former run included.
        failed: Rows of this run that hold an error instead of completions.
        prompt_tokens: Of this run.
        completion_tokens: Of this run.
        seconds: Of this run.
    """

    rows: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float


@dataclass(slots=True)
class _Row:
    """A row on its way: completions arrive in any order."""

    index: int
    id: Any = None
    request_ids: list[int] = field(default_factory=list[int])
    completions: dict[int, Completion] = field(default_factory=dict[int, Completion])
    error: str = ""

    @property
    def is_done(self) -> bool:
        return bool(self.error) or len(self.completions) == len(self.request_ids)


def generate_file(
    engine: Engine,
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    params: SamplingParams | None = None,
    *,
    thinking: bool = True,
    with_ids: bool = False,
    window: int | None = None,
    max_line_bytes: int = MOST_LINE_BYTES,
    console: Console | None = None,
) -> FileReport:
    """Complete the prompt of every line of a JSON lines file, plain or compressed.

    A line holds `prompt` (text or token ids) or `messages`, and if it likes `id`, `tools`, `thinking`
    and `params`, which go over the given ones. The output has one line for each, in the same order:
    its `completions`, or its `error`. Until it is whole it is called `OUTPUT.part`; the same call
    goes on from there. The engine's `submit` and `step` belong to the call meanwhile.

    Args:
        source: The file; names in `.zst` and `.gz` are decompressed on the way.
        output: Where the results go; must not exist.
        params: Its seed (0 when None) is split by line, so a resumed file has the same random numbers.
        thinking: Whether answers to messages start with reasoning.
        with_ids: Write token ids and log probabilities too.
        window: Most requests given to the engine at a time; None is four batches.
        max_line_bytes: Longer lines are errors of their own row.

    Raises:
        InputError: The input cannot be read, the output exists, or was begun with other settings.
    """
    source, output = Path(source), Path(output)
    params = params or SamplingParams()
    engine.step()  # refuses where the engine cannot work
    if window is None:
        window = 4 * engine.pool.num_slots
    if engine.max_waiting is not None:
        window = max(1, min(window, engine.max_waiting))
    digest, total = survey(source)
    facts = {
        "input": digest,
        "model": hashlib.sha256(repr(engine.config).encode()).hexdigest(),
        "params": to_json(params),
        "thinking": thinking,
        "with_ids": with_ids,
    }
    part = output.with_name(f"{output.name}.part")
    start = begin(output, part, facts)
    job = _Job(engine, params, thinking, with_ids, window)
    started = time.monotonic()
    lines = enumerate(lines_of(source, max_line_bytes))
    console = console or Console(stderr=True)
    with (
        part.open("ab") as handle,
        progress(output.name, total, start=start, console=console) as bar,
    ):
        try:
            for row in job.run((i, line) for i, line in lines if i >= start):
                text = json.dumps(job.written(row), ensure_ascii=False)
                handle.write(text.encode("utf-8", "replace") + b"\n")
                handle.flush()
                rate = job.completion_tokens / max(1e-9, time.monotonic() - started)
                bar.advance(**{"tok/s": rate, "failed": str(job.failed)})
        finally:
            job.abort()
        os.fsync(handle.fileno())
    part.replace(output)
    settings_of(part).unlink()
    return FileReport(
        rows=total,
        failed=job.failed,
        prompt_tokens=job.prompt_tokens,
        completion_tokens=job.completion_tokens,
        seconds=time.monotonic() - started,
    )


class _Job:
    """The rows between the line read last and the row written last."""

    def __init__(
        self, engine: Engine, params: SamplingParams, thinking: bool, with_ids: bool, window: int
    ):
        self.engine, self.params, self.window = engine, params, window
        self.thinking, self.with_ids = thinking, with_ids
        # what is said about thinking to all lines is meant for those that can think
        self.silent = replace(
            params, thinking_budget_tokens=None, thinking_budget_cue=False, thinking_effort=None
        )
        self.seed = Seed(params.seed or 0)
        self.rows: dict[int, _Row] = {}
        self.owner: dict[int, _Row] = {}
        self.failed = self.prompt_tokens = self.completion_tokens = 0

    def run(self, lines: Iterator[tuple[int, bytes | None]]) -> Iterator[_Row]:
        """Yield the rows in order."""
        has_more = True
        while has_more or self.rows:
            # finished rows behind a slow one wait too, so that memory stays bounded
            while has_more and len(self.owner) < self.window and len(self.rows) < 4 * self.window:
                found = next(lines, None)
                has_more = found is not None
                if found is not None:
                    self._submit(*found)
            if self.owner:
                for request_id, completion in self.engine.step().items():
                    row = self.owner.pop(request_id)
                    row.completions[request_id] = completion
            while self.rows and (row := next(iter(self.rows.values()))).is_done:
                del self.rows[row.index]
                self._count(row)
                yield row

    def abort(self) -> None:
        """Free what is still running."""
        for request_id in self.owner:
            self.engine.abort(request_id)

    def written(self, row: _Row) -> dict[str, Any]:
        """The line of the output."""
        out: dict[str, Any] = {"index": row.index}
        if row.id is not None:
            out["id"] = row.id
        if row.error:
            return {**out, "error": row.error}
        done = [row.completions[i] for i in row.request_ids]
        out["prompt_tokens"] = len(done[0].prompt_ids)
        if self.with_ids:
            out["prompt_ids"] = done[0].prompt_ids
        return {**out, "completions": [self._completion(completion) for completion in done]}

    def _completion(self, completion: Completion) -> dict[str, Any]:
        out: dict[str, Any] = {"content": completion.content}
        if completion.reasoning is not None:
            out["reasoning"] = completion.reasoning
        if completion.tool_calls:
            out["tool_calls"] = to_json(completion.tool_calls)
        out["finish_reason"] = completion.finish_reason
        out["tokens"] = len(completion.ids)
        out["reasoning_tokens"] = completion.reasoning_tokens
        if self.with_ids:
            out |= {
                "ids": completion.ids,
                "logprobs": completion.logprobs,
                "forced": completion.forced,
            }
        if completion.top_logprobs:
            out["top_logprobs"] = to_json(completion.top_logprobs)
        return out

    def _count(self, row: _Row) -> None:
        self.failed += bool(row.error)
        for i, completion in enumerate(row.completions.values()):
            self.prompt_tokens += 0 if i else len(completion.prompt_ids)
            self.completion_tokens += len(completion.ids)

    def _submit(self, index: int, line: bytes | None) -> None:
        row = self.rows[index] = _Row(index)
        try:
            if line is None:
                raise InputError("line", "too long", "shorten it or raise max_line_bytes")
            values = _values(line)
            row.id = values.get("id")
            prompt = _prompt(values)
            params, is_seeded = self._params(values)
            thinking = values.get("thinking", self.thinking)
            if not isinstance(thinking, bool):
                raise InputError("thinking", repr(thinking), "use true or false")
            tools = values.get("tools") or ()
            if not isinstance(tools, list | tuple):
                raise InputError("tools", repr(tools), "give a list of declarations")
            root = (
                Seed(params.seed)
                if is_seeded and params.seed is not None
                else self.seed.child(index)
            )
            for k in range(params.n):
                one = replace(params, n=1, seed=root.child(k).value)
                request_id = self.engine.submit(prompt, one, thinking=thinking, tools=tools)
                row.request_ids.append(request_id)
                self.owner[request_id] = row
        except InputError as error:
            for request_id in row.request_ids:
                self.engine.abort(request_id)
                del self.owner[request_id]
            row.error = str(error)

    def _params(self, values: Mapping[str, Any]) -> tuple[SamplingParams, bool]:
        """Settings of a row, and whether the row names a seed of its own."""
        given = values.get("params")
        base = self.silent if "prompt" in values else self.params
        if given is None:
            return base, False
        if not isinstance(given, Mapping):
            raise InputError("params", repr(given), "give an object")
        return settings(given, base), "seed" in given


def _values(line: bytes) -> Mapping[str, Any]:
    try:
        values = json.loads(decode(line, "line"))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError("line", None, f"not valid JSON ({error})") from None
    if not isinstance(values, Mapping):
        raise InputError("line", repr(values), "give an object with prompt or messages")
    for name in values:
        if name not in FIELDS:
            raise InputError(name, None, f"unknown field; use {', '.join(FIELDS)}")
    return values


def _prompt(values: Mapping[str, Any]) -> Prompt:
    if ("prompt" in values) == ("messages" in values):
        raise InputError("prompt", None, "give either prompt or messages")
    if "messages" in values:
        messages = values["messages"]
        if not isinstance(messages, list):
            raise InputError("messages", repr(messages), "give a list")
        return read_messages(messages, "row")
    prompt = values["prompt"]
    if not isinstance(prompt, str | list):
        raise InputError("prompt", repr(prompt), "give text or token ids")
    return prompt
