"""Thinking modes of fine-tuning data: reasoning kept, removed, or cut to a budget. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.core.types import Sample
from nautiloid.data.mixing import Mixture
from nautiloid.data.source import Source, source

_CHARACTERS_PER_TOKEN = 3


@dataclass(frozen=True, kw_only=True)
class ModesConfig:
    """How many samples with reasoning change their mode (specs/post_training 1.5).

    Args:
        off_share: Reasoning removed; Nemotron 3 Nano used 0.1.
        budget_share: Reasoning cut at a random budget, the answer kept; Nemotron 3 Nano used 0.03.
    """

    off_share: float = 0.0
    budget_share: float = 0.0

    def __post_init__(self) -> None:
        if min(self.off_share, self.budget_share) < 0 or self.off_share + self.budget_share > 1:
            raise InputError(
                "modes.off_share", self.off_share, "use shares of at least 0, together at most 1"
            )


@source("modes")
@dataclass(frozen=True, kw_only=True)
class ModesSource(Source):
    """Another source, with the mode of some samples changed; each draw depends on the sample's id."""

    inner: Source
    modes: ModesConfig
    seed: int = 0

    def read(self, start: int = 0) -> Iterator[Sample]:
        """Yield the inner samples with their modes."""
        for sample in self.inner.read(start):
            yield assign_mode(sample, self.modes, Seed(self.seed))

    def files(self) -> Sequence[Path]:
        """Those of the inner source."""
        return self.inner.files()

    def facts(self) -> tuple[str, ...]:
        """Those of the inner source."""
        return self.inner.facts()


def assign_mode(sample: Sample, modes: ModesConfig, seed: Seed) -> Sample:
    """The sample in a drawn mode; samples without reasoning, or of another mode already, stay."""
    reasoning = max((len(m.reasoning or "") for m in sample.messages or ()), default=0)
    if sample.mode != "on" or reasoning == 0:
        return sample
    random = seed.child("mode", sample.source, sample.id).random()
    draw = random.random()
    if draw < modes.off_share:
        return replace(sample, mode="off")
    if draw < modes.off_share + modes.budget_share:
        longest = max(1, reasoning // _CHARACTERS_PER_TOKEN)
        return replace(sample, mode="budget", budget_tokens=random.randint(1, longest))
    return sample


def with_modes(mixture: Mixture, modes: ModesConfig, seed: int) -> Mixture:
    """The mixture with `modes` applied to every source."""
    if modes == ModesConfig():
        return mixture
    phases = tuple(
        replace(
            phase,
            parts=tuple(
                replace(
                    part,
                    source=ModesSource(
                        inner=part.source, modes=modes, seed=seed, licence=part.source.licence
                    ),
                )
                for part in phase.parts
            ),
        )
        for phase in mixture.phases
    )
    return replace(mixture, phases=phases)
