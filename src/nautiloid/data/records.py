"""Rows of JSON and Parquet to samples, and back.

Conversations follow the OpenAI layout (`role`, `content`, `reasoning_content`, `tool_calls`);
ShareGPT turns (`from`, `value`) are understood too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from nautiloid.core.errors import InputError
from nautiloid.core.types import (
    ContentPart,
    MediaPart,
    Message,
    Role,
    Sample,
    TextPart,
    ThinkingMode,
    ToolCall,
)

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "tool": "tool",
    "function": "tool",
}
MODES = {"on": "on", "off": "off", "budget": "budget", True: "on", False: "off"}


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Names of the columns; a dot reaches into nested objects. A row needs one of the first three."""

    messages: str = "messages"
    text: str = "text"
    tokens: str = "input_ids"
    trains: str = "loss_mask"
    tools: str = "tools"
    mode: str = "mode"
    budget_tokens: str = "budget_tokens"
    weight: str = "weight"
    id: str = "id"
    licence: str = "license"

    def columns(self) -> set[str]:
        """Top-level columns that may be needed."""
        return {cast(str, name).split(".")[0] for name in vars(self).values()}

    def sample(
        self, row: Any, *, id: str, source: str, where: str, licence: str | None, mode: ThinkingMode
    ) -> Sample:
        """Turn one row into a sample.

        Args:
            row: The decoded row.
            id: Used when the row has none.
            source: Name of the source.
            where: File and record, for messages.
            licence: Used when the row has none.
            mode: Used when the row has none.

        Raises:
            InputError: Not an object, no content field, or one of the wrong type.
        """
        if not isinstance(row, Mapping):
            raise InputError(where, row, "expected an object with named fields")
        get = _Getter(cast(Mapping[str, Any], row), where)
        messages = get(self.messages, list)
        text = get(self.text, str) if messages is None else None
        tokens = get(self.tokens, list) if messages is None and text is None else None
        if messages is None and text is None and tokens is None:
            raise InputError(
                where,
                f"fields {', '.join(map(str, row)) or '(none)'}",
                f"set source.fields to the column that holds the data; none is called "
                f"{self.messages}, {self.text} or {self.tokens}",
            )
        tools = get(self.tools, (list, str))
        named_mode = get(self.mode, (str, bool))
        if named_mode is not None and named_mode not in MODES:
            raise InputError(f"{where}: {self.mode}", named_mode, "use on, off or budget")
        trains = get(self.trains, list) if tokens is not None else None
        if tokens is not None and trains is not None and len(trains) != len(tokens):
            raise InputError(
                f"{where}: {self.trains}", len(trains), f"expected {len(tokens)} values"
            )
        return Sample(
            id=str(_or(get(self.id), id)),
            source=source,
            text=text,
            messages=None if messages is None else read_messages(messages, where),
            tokens=None if tokens is None else _tokens(tokens, f"{where}: {self.tokens}"),
            trains=None if trains is None else tuple(bool(t) for t in trains),
            tools=() if tools is None else _tools(tools, where),
            mode=cast(ThinkingMode, MODES[named_mode]) if named_mode is not None else mode,
            budget_tokens=get(self.budget_tokens, int),
            weight=float(_or(get(self.weight, (int, float)), 1.0)),
            licence=_or(get(self.licence, str), licence),
        )


class _Getter:
    def __init__(self, row: Mapping[str, Any], where: str):
        self.row = row
        self.where = where

    def __call__(self, name: str, kinds: type | tuple[type, ...] = object) -> Any:
        value: Any = self.row.get(name)
        if value is None and "." in name:
            value = self.row
            for part in name.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None and not isinstance(value, kinds):
            expected = " or ".join(
                k.__name__ for k in (kinds if isinstance(kinds, tuple) else (kinds,))
            )
            raise InputError(
                f"{self.where}: {name}",
                f"is {type(value).__name__}",
                f"expected {expected}; mend the row or name another column in source.fields",
            )
        return value


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _tokens(values: Sequence[Any], where: str) -> tuple[int, ...]:
    if any(type(v) is not int or v < 0 for v in values):
        raise InputError(where, None, "expected token ids (integers from 0)")
    return tuple(values)


def _tools(value: Any, where: str) -> tuple[Mapping[str, Any], ...]:
    tools = _json(value, f"{where}: tools") if isinstance(value, str) else value
    if not isinstance(tools, list) or not all(isinstance(t, Mapping) for t in tools):
        raise InputError(f"{where}: tools", value, "expected a list of tool declarations")
    return tuple(_without_none(t) for t in tools)


def read_messages(rows: Sequence[Any], where: str) -> tuple[Message, ...]:
    """Decode a conversation.

    Raises:
        InputError: Names the message and the field that is wrong.
    """
    if not rows:
        raise InputError(f"{where}: messages", rows, "a conversation needs at least one message")
    return tuple(_message(row, f"{where}: messages.{i}") for i, row in enumerate(rows))


def _message(row: Any, where: str) -> Message:
    if not isinstance(row, Mapping):
        raise InputError(where, row, "expected an object with role and content")
    role = row.get("role", row.get("from"))
    if role not in ROLES:
        raise InputError(f"{where}.role", role, f"use one of {', '.join(ROLES)}")
    content = row.get("content", row.get("value"))
    reasoning = _or(row.get("reasoning_content"), row.get("reasoning"))
    if reasoning is not None and not isinstance(reasoning, str):
        raise InputError(f"{where}.reasoning_content", reasoning, "expected text")
    trains = row.get("trains")
    if trains is not None and not isinstance(trains, bool):
        raise InputError(f"{where}.trains", trains, "expected true or false")
    return Message(
        role=cast(Role, ROLES[role]),
        content=_content(content, f"{where}.content"),
        reasoning=reasoning,
        tool_calls=tuple(
            _tool_call(call, f"{where}.tool_calls.{i}")
            for i, call in enumerate(_or(row.get("tool_calls"), ()))
        ),
        name=row.get("name"),
        trains=trains,
    )


def _content(value: Any, where: str) -> str | tuple[ContentPart, ...]:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise InputError(where, value, "expected text or a list of parts")
    return tuple(_part(part, f"{where}.{i}") for i, part in enumerate(value))


def _part(part: Any, where: str) -> ContentPart:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return TextPart(part["text"])
    for media in ("image", "audio", "video"):
        if kind in (media, f"{media}_url", f"input_{media}"):
            ref = _or(part.get(kind), part.get(media))
            if isinstance(ref, Mapping):
                ref = _or(ref.get("url"), ref.get("path"))
            if isinstance(ref, str):
                return MediaPart(media, ref)
    raise InputError(
        where, part, "expected a text, image, audio or video part with its text or file"
    )


def _tool_call(call: Any, where: str) -> ToolCall:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise InputError(
            where, call, "expected an object with function.name and function.arguments"
        )
    arguments = _or(function.get("arguments"), {})
    if isinstance(arguments, str):
        arguments = _json(arguments or "{}", f"{where}.arguments")
    if not isinstance(arguments, Mapping):
        raise InputError(f"{where}.arguments", arguments, "expected a JSON object")
    return ToolCall(
        function["name"], _without_none(arguments), cast(Mapping[str, Any], call).get("id")
    )


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(where, text, f"not valid JSON ({error})") from None


def _without_none(value: Any) -> Any:
    # Parquet gives every struct of a column the union of all keys, absent ones as null
    if isinstance(value, Mapping):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_none(v) for v in value]
    return value


def write_row(sample: Sample) -> dict[str, Any]:
    """The row that `Fields().sample` turns back into `sample` (its source name and meta aside)."""
    row: dict[str, Any] = {"id": sample.id}
    if sample.text is not None:
        row["text"] = sample.text
    if sample.messages is not None:
        row["messages"] = [_write_message(m) for m in sample.messages]
        row["mode"] = sample.mode
    if sample.tokens is not None:
        row["input_ids"] = list(sample.tokens)
    if sample.trains is not None:
        row["loss_mask"] = [int(t) for t in sample.trains]
    if sample.tools:
        row["tools"] = [dict(t) for t in sample.tools]
    if sample.budget_tokens is not None:
        row["budget_tokens"] = sample.budget_tokens
    if sample.weight != 1.0:
        row["weight"] = sample.weight
    if sample.licence is not None:
        row["license"] = sample.licence
    return row


def _write_message(message: Message) -> dict[str, Any]:
    row: dict[str, Any] = {"role": message.role}
    if isinstance(message.content, str):
        row["content"] = message.content
    else:
        row["content"] = [
            {"type": "text", "text": p.text}
            if isinstance(p, TextPart)
            else {"type": p.kind, p.kind: p.ref}
            for p in message.content
        ]
    if message.reasoning is not None:
        row["reasoning_content"] = message.reasoning
    if message.tool_calls:
        row["tool_calls"] = [
            {
                "type": "function",
                **({"id": call.id} if call.id is not None else {}),
                "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments))},
            }
            for call in message.tool_calls
        ]
    if message.name is not None:
        row["name"] = message.name
    if message.trains is not None:
        row["trains"] = message.trains
    return row
