"""Triton's interpreter, where there is no GPU."""

from __future__ import annotations

from typing import Any

import torch


def allow_loaded_bounds() -> None:
    """Let loops run to a loaded bound: an array of one element, which numpy >= 2.4 takes for none."""
    if torch.cuda.is_available():
        return
    from triton.runtime import interpreter

    original = interpreter._patch_lang_tensor
    if getattr(original, "allows_loaded_bounds", False):
        return

    def patched(tensor: Any, scope: Any) -> None:
        original(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    patched.allows_loaded_bounds = True  # type: ignore[attr-defined]
    interpreter._patch_lang_tensor = patched
