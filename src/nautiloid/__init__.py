"""Nautiloid: one package for the whole life of a Nemotron-class model.

model = nautiloid.load("folder")                      # any supported Hugging Face folder
logits = model(*nautiloid.pack([[1, 2, 3], [4, 5]]))  # float32, one row a token
nautiloid.save(model, "other-folder")
nautiloid.Engine("folder").generate(["Once"], nautiloid.SamplingParams(max_tokens=8))
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nautiloid.core.types import SamplingParams
    from nautiloid.engine.engine import Engine
    from nautiloid.model.packed import pack
    from nautiloid.model.weights import load, save

    __version__: str

__all__ = ["Engine", "SamplingParams", "__version__", "load", "pack", "save"]

# Resolved on first use, so that `import nautiloid` is instant and never reaches torch.
_HOMES = (
    ("Engine", "nautiloid.engine.engine"),
    ("SamplingParams", "nautiloid.core.types"),
    ("load", "nautiloid.model.weights"),
    ("pack", "nautiloid.model.packed"),
    ("save", "nautiloid.model.weights"),
)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        try:
            return metadata.version("nautiloid")
        except metadata.PackageNotFoundError:  # run from a source tree that is not installed
            return "0+source"
    for public, module in _HOMES:
        if public == name:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'nautiloid' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
