"""Names to classes, found by importing the file of that name when it is asked for."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeVar

from nautiloid.core.errors import InputError

T = TypeVar("T", bound=type)


@dataclass(frozen=True)
class Registry:
    """Looks classes up by name; `"sums"` imports `<package>.sums`, `"my_pkg.my_env"` works for outside code.

    Nothing is listed centrally and nothing is stored: the decorator marks the class, and a look-up
    imports the file and returns the marked class.

    Args:
        noun: What the registered thing is called in messages and in JSON (`environment`, `source`).
        package: The package whose submodules hold the shipped ones.
    """

    noun: str
    package: str

    def __call__(self, name: str) -> Callable[[T], T]:
        """Mark a class as the thing called `name`; `name` is the last part of its module's name."""

        def mark(cls: T) -> T:
            cls.__registry__ = self.noun
            home = f"{self.package}.{name}"
            is_shipped = cls.__module__ == home or cls.__module__.startswith(home + ".")
            cls.__kind__ = name if is_shipped else cls.__module__
            return cls

        return mark

    def names(self) -> list[str]:
        """Names of the shipped ones, sorted, without importing them."""
        spec = find_spec(self.package)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        found = pkgutil.iter_modules(spec.submodule_search_locations)
        return sorted(m.name for m in found if not m.name.startswith("_"))

    def get(self, name: str) -> Any:
        """Return the class called `name`.

        Raises:
            InputError: No such module, or it holds nothing of this kind.
        """
        if not all(part.isidentifier() for part in name.split(".")):
            raise InputError(self.noun, name, f"use one of {', '.join(self.names())}")
        module_name = f"{self.package}.{name}"
        try:
            # Shipped ones win: a stray `train.py` beside the user must not hide `nautiloid.train`.
            if "." in name and find_spec(f"{self.package}.{name.split('.')[0]}") is None:
                module_name = name
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not module_name.startswith(error.name):
                raise  # a missing dependency of that module is another problem
            close = difflib.get_close_matches(name, self.names(), n=1)
            hint = (
                f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(self.names())}"
            )
            raise InputError(self.noun, name, hint) from None
        for value in vars(module).values():
            if isinstance(value, type) and value.__dict__.get("__registry__") == self.noun:
                kind = value.__dict__["__kind__"]
                if kind == name or (kind == module_name and value.__module__ == module_name):
                    return value
        raise InputError(self.noun, name, f"{module_name} defines no {self.noun} of that name")
