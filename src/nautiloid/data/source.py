"""What a data source is: a configuration that can be read from any record on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nautiloid.core.config import Open, to_json
from nautiloid.core.registry import Registry
from nautiloid.core.types import Sample


@dataclass(frozen=True, kw_only=True)
class Source(Open):
    """Samples in a fixed order. Subclasses live in `data/sources/<name>.py` under `@source("<name>")`.

    Args:
        licence: Licence of samples that carry none of their own.
    """

    registry: ClassVar[Registry] = Registry("source", "nautiloid.data.sources")

    licence: str | None = None

    @property
    def kind(self) -> str:
        """The registered name."""
        return getattr(type(self), "__kind__", type(self).__name__)

    def read(self, start: int = 0) -> Iterator[Sample]:
        """Yield the samples from record `start` on, once, in the same order every time.

        Raises:
            InputError: A file is missing, unreadable or corrupt; names the file and the record.
        """
        raise TypeError(f"{type(self).__name__} does not define read")

    def files(self) -> Sequence[Path]:
        """The files that `read` opens, in order; empty when there are none."""
        return ()

    def facts(self) -> tuple[str, ...]:
        """What the samples depend on beside the settings and the files, for the fingerprint."""
        return ()

    def fingerprint(self) -> str:
        """Hex digest of the settings and of the paths and sizes of the files.

        Two sources of equal fingerprint give the same samples unless a file was edited without
        changing its size.
        """
        files = [[str(path), path.stat().st_size] for path in self.files()]
        text = json.dumps([to_json(self), files, self.facts()], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


source = Source.registry
