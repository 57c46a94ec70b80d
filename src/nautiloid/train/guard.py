"""Watches loss and gradient norm: bad steps are skipped, jumps are recorded."""

from __future__ import annotations

import logging
import math
import statistics
from typing import Any

from nautiloid.core.errors import InputError

log = logging.getLogger("nautiloid.train")

_WINDOW_STEPS = 64
_MIN_STEPS = 16
_SPIKE_DEVIATIONS = 8.0


class Guard:
    """Decides before each optimizer step whether it may be taken.

    Attributes:
        skipped: Steps left out so far because loss or gradient were not finite.
        streak: Length of the present run of such steps.
    """

    def __init__(self, max_bad_steps: int):
        self.max_bad_steps = max_bad_steps
        self.skipped = 0
        self.streak = 0
        self.recent: list[float] = []

    def admits(self, step: int, loss: float, grad_norm: float) -> bool:
        """Whether the step may change the weights.

        Raises:
            InputError: `max_bad_steps` consecutive steps were not finite.
        """
        if math.isfinite(loss) and math.isfinite(grad_norm):
            self.streak = 0
            return True
        self.skipped += 1
        self.streak += 1
        log.warning("step %d skipped: loss %g, gradient norm %g", step, loss, grad_norm)
        if self.streak >= self.max_bad_steps:
            raise InputError(
                f"step {step}",
                f"loss {loss:g}, gradient norm {grad_norm:g}, {self.streak} such steps in a row",
                "lower trainer.optim.lr or lengthen the warm-up, check the data of these steps, and run again: "
                "training continues from the last checkpoint",
            )
        return False

    def is_spike(self, loss: float) -> bool:
        """Whether a finite loss lies far above the recent ones (robust z-score); then remembers it."""
        recent = self.recent
        spike = False
        if len(recent) >= _MIN_STEPS:
            middle = statistics.median(recent)
            spread = 1.4826 * statistics.median(abs(x - middle) for x in recent)
            spike = loss > middle + _SPIKE_DEVIATIONS * max(spread, 0.01 * abs(middle))
        self.recent = [*recent[1 - _WINDOW_STEPS :], loss]
        return spike

    def state_dict(self) -> dict[str, Any]:
        """JSON-able state."""
        return {"skipped": self.skipped, "streak": self.streak, "recent": self.recent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.skipped, self.streak, self.recent = (
            state["skipped"],
            state["streak"],
            list(state["recent"]),
        )
