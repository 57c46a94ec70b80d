"""Randomness that is split by name instead of drawn from global state."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Seed:
    """A 63-bit seed; children are derived by name, so adding a user of randomness moves no other.

    >>> Seed(0).child("loader", 3) == Seed(0).child("loader", 3)
    True
    >>> Seed(0).child("loader").value != Seed(0).child("init").value
    True
    """

    value: int = 0

    def child(self, *names: str | int) -> Seed:
        """Derive the seed of the named part."""
        text = "/".join([str(self.value), *map(str, names)])
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return Seed(int.from_bytes(digest, "little") >> 1)

    def random(self) -> random.Random:
        """A fresh standard-library generator."""
        return random.Random(self.value)

    def numpy(self) -> np.random.Generator:
        """A fresh numpy generator."""
        return np.random.Generator(np.random.PCG64(self.value))
