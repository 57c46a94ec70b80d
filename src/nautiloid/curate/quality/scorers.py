"""Settings of scorers: what each one loads when a worker opens it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from nautiloid.core.errors import InputError
from nautiloid.core.types import Scorer
from nautiloid.curate.quality.linear import load_linear


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A linear model that `nautiloid curate curate/quality` trained.

    Args:
        model: Folder of the model or of its run.
    """

    kind: Literal["linear"] = "linear"
    model: str = ""

    def __post_init__(self) -> None:
        if not self.model:
            remedy = (
                "name the folder of a scorer; train one with "
                "`nautiloid curate curate/quality --labels FILE`"
            )
            raise InputError("linear.model", None, remedy)

    @contextmanager
    def open(self) -> Iterator[Scorer]:
        """Read the weights."""
        yield load_linear(self.model)
