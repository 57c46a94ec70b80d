"""Values of short strings that pages of one site repeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

V = TypeVar("V")

# Bounds of what is kept: 32,768 strings of 300 characters.
_MOST = 1 << 15
_LONGEST = 300


class Memo(dict[str, V]):
    """A function as a mapping: `memo[key]` calls it once for each key that is kept.

    Looking up all keys of a page is one `map` without a Python call a key.

    Args:
        function: Depends on the key alone.
    """

    def __init__(self, function: Callable[[str], V]):
        super().__init__()
        self._function = function

    def __missing__(self, key: str) -> V:
        value = self._function(key)
        if len(key) <= _LONGEST:
            if len(self) >= _MOST:
                self.clear()
            self[key] = value
        return value
