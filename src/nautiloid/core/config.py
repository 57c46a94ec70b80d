"""Frozen dataclasses to JSON and back, strictly; the base class of recipes."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, Union, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

from nautiloid.core.errors import InputError
from nautiloid.core.registry import Registry

if TYPE_CHECKING:
    from nautiloid.core.run import Run

T = TypeVar("T")


class Open:
    """Base of open unions: a field annotated with a subclass holds any class of `registry`.

    The registered name travels as `kind` in JSON.
    """

    registry: ClassVar[Registry]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe(Open):
    """One run, named. Subclasses hold the settings; `run` is a straight program.

    Args:
        name: Name of the run; its folder is `runs/<name>` unless `--out` says otherwise.
        seed: The one number all randomness of the run derives from.

    Attributes:
        verb: The verb that runs recipes of this type; None where `kind` names it.
        free_fields: Fields that the result does not depend on; they may differ when a run is taken up
            again.
    """

    registry: ClassVar[Registry] = Registry("recipe", "nautiloid")
    verb: ClassVar[str | None] = None
    free_fields: ClassVar[tuple[str, ...]] = ()

    name: str
    seed: int = 0

    def run(self, run: Run) -> None:
        """Do the work, resuming from whatever `run` already holds."""
        raise TypeError(f"{type(self).__name__} does not define run")

    def summary(self) -> dict[str, str]:
        """What `--dry-run` prints beside the settings: sizes, budgets, memory. Allocates nothing."""
        return {}


def to_json(value: Any) -> Any:
    """Encode a tree of dataclasses as JSON values; registered classes carry their `kind`.

    >>> from nautiloid.core.types import SamplingParams
    >>> to_json(SamplingParams(stop=("a",)))["stop"]
    ['a']
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        data = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
        kind = getattr(type(value), "__kind__", None)
        return {"kind": kind, **data} if kind else data
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, tuple | list):
        return [to_json(v) for v in cast(list[Any], value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InputError(
        "config", type(value).__name__, "settings hold numbers, text, lists and dataclasses"
    )


@lru_cache(maxsize=512)
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


@lru_cache(maxsize=512)
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation, config=ConfigDict(strict=True))


def from_json(annotation: type[T], data: Any, path: str = "") -> T:
    """Decode JSON values into `annotation`, refusing unknown, missing and ill-typed fields.

    Raises:
        InputError: Names the dotted path, the value and what is expected.
    """
    return cast(T, _decode(annotation, data, path))


def _decode(annotation: Any, data: Any, path: str) -> Any:
    where = path or "config"
    if annotation is Any:
        return data
    origin = typing.get_origin(annotation)
    args = typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return _decode_union(args, data, path)
    if isinstance(annotation, type) and issubclass(annotation, Open):
        return _decode_open(annotation, data, path)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return _decode_dataclass(annotation, data, path)
    if origin is tuple:
        if not isinstance(data, list | tuple):
            raise InputError(where, data, "expected a list")
        items = cast(list[Any], data)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_decode(args[0], v, f"{path}.{i}") for i, v in enumerate(items))
        if len(items) != len(args):
            raise InputError(where, items, f"expected {len(args)} values")
        return tuple(
            _decode(a, v, f"{path}.{i}") for i, (a, v) in enumerate(zip(args, items, strict=True))
        )
    if origin in (dict, Mapping) or origin is getattr(typing, "Mapping", None):
        if not isinstance(data, Mapping):
            raise InputError(where, data, "expected an object")
        pairs = cast(Mapping[Any, Any], data).items()
        return {_key(args[0], k, where): _decode(args[1], v, f"{path}.{k}") for k, v in pairs}
    try:
        return _adapter(cast(object, annotation)).validate_python(data)
    except ValidationError as error:
        message = error.errors()[0]["msg"].lower().removeprefix("input should be ")
        raise InputError(where, cast(object, data), f"expected {message}") from None


def _key(annotation: Any, key: Any, where: str) -> Any:
    if annotation is not int:
        return key
    try:
        return int(key)  # JSON objects have text keys only
    except ValueError:
        raise InputError(where, key, "expected whole numbers as keys") from None


def _decode_union(args: tuple[Any, ...], data: Any, path: str) -> Any:
    if data is None and type(None) in args:
        return None
    choices = [a for a in args if a is not type(None)]
    if len(choices) == 1:
        return _decode(choices[0], data, path)
    if isinstance(data, Mapping) and "kind" in data:
        kind = cast(Mapping[str, Any], data)["kind"]
        for choice in choices:
            literal = _hints(choice).get("kind") if dataclasses.is_dataclass(choice) else None
            if literal is not None and kind in typing.get_args(literal):
                return _decode(choice, data, path)
    errors: list[InputError] = []
    for choice in choices:
        try:
            return _decode(choice, data, path)
        except InputError as error:
            errors.append(error)
    raise max(errors, key=lambda e: len(e.field))  # the one that got deepest


def _decode_open(annotation: type[Open], data: Any, path: str) -> Any:
    if not isinstance(data, Mapping):
        raise InputError(path or "config", data, "expected an object")
    fields = dict(cast(Mapping[str, Any], data))
    kind = fields.pop("kind", None)
    own = annotation.__dict__.get("__kind__")
    if kind is None and own is None:
        remedy = f"name the {annotation.registry.noun}"
        raise InputError(f"{path}.kind".lstrip("."), None, remedy)
    if kind is None or kind == own:
        cls: Any = annotation
    else:
        cls = annotation.registry.get(kind)
        if not issubclass(cls, annotation):
            raise InputError(f"{path}.kind".lstrip("."), kind, f"expected a {annotation.__name__}")
    return _decode_dataclass(cls, fields, path)


def _decode_dataclass(cls: Any, data: Any, path: str) -> Any:
    if not isinstance(data, Mapping):
        raise InputError(path or "config", data, "expected an object")
    given = cast(Mapping[str, Any], data)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    for key in given:
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            hint = (
                f"unknown field; did you mean {close[0]!r}?"
                if close
                else (f"unknown field; {cls.__name__} has {', '.join(fields)}")
            )
            raise InputError(f"{path}.{key}".lstrip("."), None, hint)
    hints = _hints(cls)
    values = {k: _decode(hints[k], v, f"{path}.{k}".lstrip(".")) for k, v in given.items()}
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise InputError(
                f"{path}.{name}".lstrip("."), None, f"missing; {cls.__name__} needs it"
            )
    return cls(**values)
