"""Weighted mixtures of sources with phases."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from nautiloid.core.config import from_json, to_json
from nautiloid.core.errors import InputError
from nautiloid.core.files import read_json, write_json
from nautiloid.data.source import Source


@dataclass(frozen=True)
class Part:
    """A source and its share.

    Args:
        source: Where the samples come from.
        weight: Share relative to the other parts of the phase.
        name: Tells parts apart; the same name in two phases goes on where it stopped. The kind of
            the source when empty.
        epochs: Passes over the source; None repeats without end.
    """

    source: Source
    weight: float = 1.0
    name: str = ""
    epochs: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise InputError("part.weight", self.weight, "use a number above 0")
        if self.epochs is not None and self.epochs < 1:
            raise InputError(
                "part.epochs", self.epochs, "use at least 1, or None to repeat without end"
            )

    @property
    def label(self) -> str:
        """The name, or the kind of the source."""
        return self.name or self.source.kind


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training with constant shares.

    Args:
        parts: What is mixed.
        until: Where the phase ends: up to 1 a share of the run's tokens, above 1 a number of tokens;
            None (only in the last phase) means the end of the run.
    """

    parts: tuple[Part, ...]
    until: float | None = None


@dataclass(frozen=True)
class Mixture:
    """What a run is trained on.

    Args:
        phases: In order; their ends rise.
        unit: What the shares count: tokens, or samples.
        shuffle_samples: Samples of a source that are shuffled together.
        shuffle_chars: Bound on the characters of that many samples, hence on memory.
    """

    phases: tuple[Phase, ...]
    unit: Literal["tokens", "samples"] = "tokens"
    shuffle_samples: int = 2048
    shuffle_chars: int = 64_000_000

    def __post_init__(self) -> None:
        if not self.phases:
            raise InputError("data.phases", None, "name at least one phase")
        if self.shuffle_samples < 1:
            raise InputError(
                "data.shuffle_samples", self.shuffle_samples, "use at least 1 (no shuffling)"
            )
        known: dict[str, Part] = {}
        for i, phase in enumerate(self.phases):
            labels = [part.label for part in phase.parts]
            if not labels:
                raise InputError(f"data.phases.{i}.parts", None, "name at least one source")
            if len(set(labels)) < len(labels):
                twice = next(label for label in labels if labels.count(label) > 1)
                raise InputError(
                    f"data.phases.{i}.parts", twice, "two parts of one name; set part.name"
                )
            for part in phase.parts:
                former = known.setdefault(part.label, part)
                if (former.source, former.epochs) != (part.source, part.epochs):
                    raise InputError(
                        f"data.phases.{i}.parts",
                        part.label,
                        "another source has this name; set part.name",
                    )
            if phase.until is None and i < len(self.phases) - 1:
                raise InputError(
                    f"data.phases.{i}.until", None, "say where it ends; only the last may not"
                )
            if phase.until is not None and not phase.until > 0:
                raise InputError(
                    f"data.phases.{i}.until", phase.until, "use a share or number of tokens above 0"
                )

    @property
    def parts(self) -> dict[str, Part]:
        """All parts by label."""
        return {part.label: part for phase in self.phases for part in phase.parts}

    def fingerprint(self) -> str:
        """Hex digest of everything that decides which samples come in which order, the seed aside."""
        phases = [[p.until, [[part.label, part.weight] for part in p.parts]] for p in self.phases]
        sources = {
            label: [part.epochs, part.source.fingerprint()] for label, part in self.parts.items()
        }
        text = json.dumps([phases, sources, self.unit, self.shuffle_samples, self.shuffle_chars])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def mix(*parts: Source | Part, epochs: int | None = None) -> Mixture:
    """A mixture of one phase; bare sources count equally and make `epochs` passes."""
    whole = [part if isinstance(part, Part) else Part(part, epochs=epochs) for part in parts]
    taken: dict[str, int] = {}
    named: list[Part] = []
    for part in whole:
        number = taken[part.label] = taken.get(part.label, 0) + 1
        label = part.label if number == 1 else f"{part.label}-{number}"
        named.append(Part(part.source, part.weight, label, part.epochs))
    return Mixture((Phase(parts=tuple(named)),))


def phase_ends(mixture: Mixture, total_tokens: int | None) -> list[float]:
    """Tokens at which each phase ends; the last one does not end.

    Raises:
        InputError: A share without `total_tokens`, or ends that do not rise.
    """
    ends: list[float] = []
    for i, phase in enumerate(mixture.phases[:-1]):
        assert phase.until is not None
        if phase.until <= 1 and total_tokens is None:
            raise InputError(
                f"data.phases.{i}.until",
                phase.until,
                "give a number of tokens; the run's length is open",
            )
        end = phase.until * (total_tokens or 0) if phase.until <= 1 else phase.until
        if ends and end <= ends[-1]:
            raise InputError(
                f"data.phases.{i}.until", phase.until, "ends before the phase in front of it"
            )
        ends.append(end)
    return [*ends, math.inf]


MIXTURE_SCHEMA = 1


def write_mixture_file(path: str | os.PathLike[str], mixture: Mixture) -> None:
    """Write a mixture as a file; relative paths of its sources count from the file's folder."""
    write_json(path, {"schema": MIXTURE_SCHEMA, "mixture": to_json(mixture)})


def read_mixture_file(path: str | os.PathLike[str]) -> Mixture:
    """The mixture of a file, with the relative paths of its sources made absolute.

    Args:
        path: The file, or a folder with `mixture.json` in it, such as a finished curation run.

    Raises:
        InputError: No such file, or not a mixture.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "mixture.json"
    data = read_json(file)
    if not isinstance(data, dict) or "mixture" not in data:
        raise InputError(str(file), None, "not a mixture file (no field mixture)")
    record = cast(dict[str, Any], data)
    if record.get("schema") != MIXTURE_SCHEMA:
        remedy = f"this version reads schema {MIXTURE_SCHEMA}"
        raise InputError(f"{file}: schema", record.get("schema"), remedy)
    mixture = from_json(Mixture, record["mixture"], "mixture")
    folder = file.absolute().parent
    phases = tuple(
        replace(
            phase, parts=tuple(replace(p, source=_placed(p.source, folder)) for p in phase.parts)
        )
        for phase in mixture.phases
    )
    return replace(mixture, phases=phases)


def _placed(source: Source, folder: Path) -> Source:
    paths: tuple[str, ...] | None = getattr(source, "paths", None)
    if not paths:
        return source
    placed = tuple(os.path.normpath(folder / Path(path).expanduser()) for path in paths)
    return replace(cast(Any, source), paths=placed)
