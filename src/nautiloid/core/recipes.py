"""Recipes by name: shipped files, a user's own file, and the record of a former run."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from nautiloid.core.config import Recipe
from nautiloid.core.errors import InputError
from nautiloid.core.run import read_recipe

PACKAGE = "nautiloid.recipes"


def recipe_names(verb: str = "") -> list[str]:
    """Names of the shipped recipes of a verb (of all verbs when empty), without importing them.

    >>> "sft/debug" in recipe_names("sft")
    True
    """
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    names: list[str] = []
    for root in map(Path, spec.submodule_search_locations):
        files = (f for f in root.rglob("*.py") if not f.name.startswith("_"))
        names += [f.relative_to(root).with_suffix("").as_posix() for f in files]
    return sorted(name for name in names if not verb or name.split("/")[0] == verb)


def load_recipe(subject: str, preset: str | None = None) -> Recipe:
    """Return the recipe that `subject` names.

    Args:
        subject: `sft/debug` (a shipped file), a `.py` file, the `config.json` of a run, or a run folder.
        preset: The function of the file to call, `recipe` when None; a record has none.

    Raises:
        InputError: Nothing of that name, no such function, or it returns something else.
    """
    path = Path(subject)
    if path.is_dir() and (path / "config.json").is_file():
        path = path / "config.json"
    if path.suffix == ".json":
        if preset is not None:
            raise InputError(
                "--preset", preset, f"{subject} is a record without presets; leave it out"
            )
        return read_recipe(path)
    module = _from_file(path) if path.suffix == ".py" else _shipped(subject)
    presets = recipe_presets(module)
    name = preset or "recipe"
    if name not in presets:
        raise InputError("--preset", name, f"{subject} has {', '.join(presets) or 'no presets'}")
    recipe = presets[name]()
    if not isinstance(recipe, Recipe):
        raise InputError(f"{subject}: {name}()", type(recipe).__name__, "it must return a Recipe")
    return recipe


def recipe_presets(module: ModuleType) -> dict[str, Callable[[], object]]:
    """Public functions that a recipe file defines itself, by name."""
    return {
        name: cast(Callable[[], object], value)
        for name, value in vars(module).items()
        if callable(value)
        and not isinstance(value, type)
        and not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
    }


def _shipped(subject: str) -> ModuleType:
    names = recipe_names()
    if subject not in names:
        close: list[Any] = difflib.get_close_matches(subject, names, n=1)
        hint = (
            f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(names)}, or a file"
        )
        raise InputError("recipe", subject, hint)
    return importlib.import_module(f"{PACKAGE}.{subject.replace('/', '.')}")


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(str(path), None, "no such recipe file")
    # Registered, because dataclasses of the file look their module up; prefixed, to hide nothing.
    name = f"nautiloid_recipe_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise InputError(f"{path}: line {error.lineno}", error.text, "not valid Python") from error
    return module
