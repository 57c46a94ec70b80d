"""Launch parameters of the kernels, stored per kind of GPU and never searched at start-up.

`benchmarks/tune.py` measures and writes `ops/tuned/<gpu>.json`; a GPU without a file uses the values
the kernel was written with.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

FOLDER = Path(__file__).parent / "tuned"
_TRIED: ContextVar[Mapping[str, Mapping[str, Any]]] = ContextVar(
    "tried", default=MappingProxyType({})
)


def gpu_name(device: torch.device | int | None = None) -> str:
    """File-name form of a GPU's name, such as `nvidia-h200`."""
    return torch.cuda.get_device_name(device).lower().replace(" ", "-")


@functools.cache
def _table(name: str) -> Mapping[str, Any]:
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else {}


@functools.cache
def _current() -> Mapping[str, Any]:
    return _table(gpu_name()) if torch.cuda.is_available() else {}


def tuned(kernel: str, **default: Any) -> dict[str, Any]:
    """Launch parameters of a kernel: the stored ones over the given defaults.

    >>> tuned("no_such_kernel", BLOCK=64, num_warps=4)
    {'BLOCK': 64, 'num_warps': 4}
    """
    return {**default, **_current().get(kernel, {}), **_TRIED.get().get(kernel, {})}


@contextmanager
def trying(kernel: str, choice: Mapping[str, Any]) -> Iterator[None]:
    """Launch a kernel with other parameters while the body runs, in this thread.

    >>> with trying("some_kernel", {"BLOCK": 32}):
    ...     tuned("some_kernel", BLOCK=64)
    {'BLOCK': 32}
    """
    token = _TRIED.set({kernel: choice})
    try:
        yield
    finally:
        _TRIED.reset(token)
