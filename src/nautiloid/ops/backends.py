"""Which implementation of an operator runs: by name, or by the device of its tensors."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

from torch import Tensor

from nautiloid.core.errors import InputError


@functools.cache
def has(package: str) -> bool:
    """Whether an optional package is installed, without importing it.

    >>> has("torch")
    True
    """
    return importlib.util.find_spec(package) is not None


def require(package: str, backend: str, extra: str) -> None:
    """Refuse a backend whose package is missing, naming the extra that brings it."""
    if not has(package):
        raise InputError(
            "ops", backend, f'needs {package}; install it with pip install "nautiloid[{extra}]"'
        )


def by_device(cpu: Callable[..., Any], gpu: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
    """A function that runs `cpu`, or what `gpu` loads when its first tensor is on a GPU.

    >>> by_device(lambda x: "cpu", lambda: (lambda x: "gpu"))(Tensor())
    'cpu'
    """
    if not has("triton"):
        return cpu
    loaded = functools.cache(gpu)

    @functools.wraps(cpu)
    def run(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return loaded()(x, *args, **kwargs) if x.is_cuda else cpu(x, *args, **kwargs)

    return run
