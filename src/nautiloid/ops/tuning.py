"""Launch parameters of the kernels, stored per kind of GPU and never searched at start-up.

`benchmarks/tune.py` measures and writes `ops/tuned/<gpu>.json`; a GPU without a file uses the values
the kernel was written with.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(__file__).parent / "tuned"


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
    return {**default, **_current().get(kernel, {})}
