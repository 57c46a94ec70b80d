"""Tool declarations and calls in the nested-tag form of Nemotron 3."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from nautiloid.core.types import ToolCall
from nautiloid.data.render._script import Script
from nautiloid.data.render.base import Tools, functions, json_text, strict_json

# The bounded gap keeps prose that only mentions the tag from being taken for a call.
CALL_START = re.compile(r"<tool_call>\s{0,64}<function=")
_HEAD = re.compile(r"<tool_call>\s{0,64}<function=([^>\n]+)>")
_PARAMETER = re.compile(r"\s*<parameter=([^>\n]+)>\n?")
_PARAMETER_END = "</parameter>"
_TAIL = re.compile(r"\s*</function>\s*(?:</tool_call>|$)")
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_ORDER = ("null", "integer", "number", "boolean", "object", "array")

TOOLS_INTRO = "# Tools\n\nThese functions are available to you:\n\n<tools>"
TOOLS_FORMAT = """
</tools>

To call functions, end your reply with one block like this for each call:

<tool_call>
<function=name_of_the_function>
<parameter=first_parameter>
value
</parameter>
<parameter=second_parameter>
a value may span
several lines
</parameter>
</function>
</tool_call>

Rules for calls:
- Keep to the nested format above exactly; each call has its own pair of outer tags.
- Give every required parameter.
- You may reason or explain before a call, but write nothing after it.
- If no function fits, answer in the usual way and do not mention functions."""


def write_tools(script: Script, tools: Tools) -> None:
    """Add the declaration section; names and descriptions come from outside and stay plain."""
    script.fixed(TOOLS_INTRO)
    for function in functions(tools):
        script.plain(_declaration(function))
    script.fixed(TOOLS_FORMAT)


def write_call(script: Script, call: ToolCall, trains: bool) -> None:
    """Add one call with its final newline."""
    script.fixed("<tool_call>", trains)
    script.plain(f"\n<function={call.name}>\n", trains)
    for key, value in call.arguments.items():
        text = value if isinstance(value, str) else json_text(value)
        script.plain(f"<parameter={key}>\n{text}\n</parameter>\n", trains)
    script.plain("</function>\n", trains)
    script.fixed("</tool_call>", trains)
    script.plain("\n", trains)


def read_calls(text: str, tools: Tools) -> tuple[str, tuple[ToolCall, ...]]:
    """Split text into what stands before the first whole call, and the calls.

    A call that is cut off or ill-formed stays in the text.
    """
    schemas = {f["name"]: _properties(f) for f in functions(tools)}
    calls: list[ToolCall] = []
    content, at = text, 0
    while (head := _HEAD.search(text, at)) is not None:
        arguments: dict[str, Any] = {}
        schema = schemas.get(head[1], {})
        at = head.end()
        while (parameter := _PARAMETER.match(text, at)) is not None:
            end = text.find(_PARAMETER_END, parameter.end())
            if end < 0:
                return content, tuple(calls)
            value = text[parameter.end() : end].removesuffix("\n")
            arguments[parameter[1]] = convert(value, schema.get(parameter[1]))
            at = end + len(_PARAMETER_END)
        tail = _TAIL.match(text, at)
        if tail is None:
            continue
        if not calls:
            content = text[: head.start()]
        calls.append(ToolCall(head[1], arguments))
        at = tail.end()
    return content, tuple(calls)


def convert(text: str, schema: Any) -> Any:
    """The value that `text` stands for under a JSON schema; text that fits no type stays text.

    >>> convert("3", {"type": "integer"}), convert("3", {"type": "string"})
    (3, '3')
    >>> convert("null", {"type": ["string", "null"]}), convert("nan", {"type": "number"})
    (None, 'nan')
    """
    types = _types(schema)
    word = text.strip()
    for kind in _ORDER:
        if kind not in types:
            continue
        try:
            return _CONVERT[kind](word)
        except ValueError:
            continue
    return text


def _null(word: str) -> None:
    if word.lower() != "null":
        raise ValueError(word)


def _integer(word: str) -> int:
    if _INTEGER.fullmatch(word) is None:
        raise ValueError(word)
    return int(word)


def _number(word: str) -> int | float:
    if _INTEGER.fullmatch(word) is not None:
        return int(word)
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(word)
    return value


def _boolean(word: str) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    if word.lower() not in known:
        raise ValueError(word)
    return known[word.lower()]


def _json_of(kind: type) -> Any:
    def read(word: str) -> Any:
        value, end = strict_json(word)
        if end != len(word) or not isinstance(value, kind):
            raise ValueError(word)
        return value

    return read


_CONVERT: Mapping[str, Any] = {
    "null": _null,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "object": _json_of(dict),
    "array": _json_of(list),
}


def _types(schema: Any) -> set[str]:
    if not isinstance(schema, Mapping):
        return set()
    declared = schema.get("type", ())
    types = {declared} if isinstance(declared, str) else {t for t in declared if isinstance(t, str)}
    for key in ("anyOf", "oneOf"):
        for choice in schema.get(key, ()):
            types |= _types(choice)
    return types


def _properties(function: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = function.get("parameters")
    properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
    return properties if isinstance(properties, Mapping) else {}


def _declaration(function: Mapping[str, Any]) -> str:
    lines = ["", "<function>", f"<name>{function['name']}</name>"]
    if function.get("description"):
        lines.append(f"<description>{str(function['description']).strip()}</description>")
    lines.append("<parameters>")
    parameters = function.get("parameters") or {}
    for name, declared in _properties(function).items():
        field = declared if isinstance(declared, Mapping) else {}
        lines += ["<parameter>", f"<name>{name}</name>"]
        if "type" in field:
            lines.append(f"<type>{_text(field['type'])}</type>")
        if field.get("description"):
            lines.append(f"<description>{str(field['description']).strip()}</description>")
        if "enum" in field:
            lines.append(f"<enum>{json_text(field['enum'])}</enum>")
        lines += _others(field, ("name", "type", "description", "enum"))
        lines.append("</parameter>")
    lines += _others(parameters, ("type", "properties", "required"))
    if parameters.get("required"):
        lines.append(f"<required>{json_text(parameters['required'])}</required>")
    lines.append("</parameters>")
    lines += _others(function, ("type", "name", "description", "parameters"))
    lines.append("</function>")
    return "\n".join(lines)


def _others(values: Mapping[str, Any], handled: tuple[str, ...]) -> list[str]:
    return [f"<{k}>{_text(v)}</{k}>" for k, v in values.items() if k not in handled]


def _text(value: Any) -> str:
    return json_text(value) if isinstance(value, Mapping | list | tuple) else str(value)
