"""Learning-rate schedules as plain functions of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from nautiloid.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Linear warm-up, then one of three courses.

    Args:
        kind: `wsd` stays at the peak and decays over the last part (specs/architecture 7.2),
            `cosine` decays from the end of the warm-up on, `constant` stays.
        warmup_steps: Steps of the linear rise; the first step already has `1 / warmup_steps`.
        decay_share: Share of all steps that the decay of `wsd` takes.
        decay_shape: Course of the decay of `wsd`.
        final_ratio: Learning rate of the last step, as a share of the peak.
    """

    kind: Literal["wsd", "cosine", "constant"] = "wsd"
    warmup_steps: int = 0
    decay_share: float = 0.2
    decay_shape: Literal["linear", "minus-sqrt", "cosine"] = "minus-sqrt"
    final_ratio: float = 0.01

    def __post_init__(self) -> None:
        for name in ("decay_share", "final_ratio"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InputError(f"trainer.schedule.{name}", value, "use a number from 0 to 1")
        if self.warmup_steps < 0:
            raise InputError("trainer.schedule.warmup_steps", self.warmup_steps, "use 0 or more")


def lr_ratio(config: ScheduleConfig, step: int, num_steps: int) -> float:
    """Learning rate of step `step` (from 0) of `num_steps`, as a share of the peak.

    >>> wsd = ScheduleConfig(warmup_steps=2, decay_share=0.5, decay_shape="linear", final_ratio=0.0)
    >>> [round(lr_ratio(wsd, s, 8), 3) for s in range(8)]
    [0.5, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    warmup = config.warmup_steps
    if step < warmup:
        return (step + 1) / warmup
    if config.kind == "constant":
        return 1.0
    if config.kind == "cosine":
        start, shape = warmup, "cosine"
    else:
        start = max(warmup, num_steps - round(config.decay_share * num_steps))
        shape = config.decay_shape
    if step < start:
        return 1.0
    progress = min(1.0, (step + 1 - start) / (num_steps - start))
    return config.final_ratio + (1 - config.final_ratio) * _remaining(shape, progress)


def _remaining(shape: str, progress: float) -> float:
    if shape == "linear":
        return 1 - progress
    if shape == "minus-sqrt":
        return 1 - math.sqrt(progress)
    return 0.5 * (1 + math.cos(math.pi * progress))
