"""Tool calls written as JSON: `{"name": .., "arguments": {..}}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from nautiloid.core.types import ToolCall
from nautiloid.data.render.base import json_text, strict_json


def call_text(call: ToolCall) -> str:
    """One call as JSON."""
    return json_text({"name": call.name, "arguments": call.arguments})


def read_call(value: Any) -> ToolCall:
    """The call that a decoded JSON value stands for; arguments may be JSON inside a string.

    Raises:
        ValueError: It is no call.
    """
    if not isinstance(value, Mapping):
        raise ValueError("not an object")
    fields = cast(Mapping[str, Any], value)
    arguments = fields.get("arguments", {})
    if isinstance(arguments, str):
        arguments, _ = strict_json(arguments)
    if not isinstance(fields.get("name"), str) or not isinstance(arguments, dict):
        raise ValueError("a call has a name and an object of arguments")
    return ToolCall(fields["name"], cast(dict[str, Any], arguments))
