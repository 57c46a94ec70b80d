"""Triton's interpreter, so that kernels run on CPU tensors."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch


def prepare() -> None:
    """Choose the interpreter where there is no GPU; call it before triton is imported."""
    if torch.cuda.is_available():
        return
    os.environ["TRITON_INTERPRET"] = "1"
    interpreter = pytest.importorskip("triton.runtime.interpreter")

    original = interpreter._patch_lang_tensor
    if getattr(original, "allows_loaded_bounds", False):
        return

    def patched(tensor: Any, scope: Any) -> None:
        original(tensor, scope)
        # a loaded loop bound is an array of one element, which numpy >= 2.4 no longer takes for one
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    patched.allows_loaded_bounds = True  # type: ignore[attr-defined]
    interpreter._patch_lang_tensor = patched
