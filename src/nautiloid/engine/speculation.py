"""Speculative decoding: how tokens are guessed, and what it adds to the states of a sequence.

Some tokens after the newest one are drafted cheaply, the model runs over all of them in one forward,
and rejection sampling keeps a prefix of them (`ops.sampling.rejection`): the completions follow the
same distribution as without drafts, whatever is drafted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nautiloid.core.errors import InputError
from nautiloid.core.types import DraftCounts
from nautiloid.engine.ngrams import Ngrams
from nautiloid.model.blocks.config import StateSpec
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.config import ModelConfig

MOST_DRAFTS = 8


@dataclass(frozen=True, kw_only=True)
class Speculation:
    """Which drafts are made.

    Args:
        kind: `mtp` drafts with the model's multi-token prediction head, `ngram` copies what followed
            the last tokens where they occurred before.
        num_tokens: Drafts of a step, K.
        ngram_tokens: Shortest and longest end of the text that is looked up.
        forced_acceptance: Accept drafts with this probability, whatever the model says. The text is
            then wrong: only benchmarks of speed with random weights need it.
    """

    kind: Literal["mtp", "ngram"] = "mtp"
    num_tokens: int = 3
    ngram_tokens: tuple[int, int] = (2, 4)
    forced_acceptance: float | None = None

    def __post_init__(self) -> None:
        shortest, longest = self.ngram_tokens
        rate = self.forced_acceptance
        checks = (
            ("kind", self.kind in ("mtp", "ngram"), "use mtp or ngram"),
            ("num_tokens", 1 <= self.num_tokens <= MOST_DRAFTS, f"use 1 to {MOST_DRAFTS}"),
            ("ngram_tokens", 1 <= shortest <= longest <= 16, "use (shortest, longest), 1 to 16"),
            ("forced_acceptance", rate is None or 0 <= rate <= 1, "use None or 0 to 1"),
        )
        for name, holds, remedy in checks:
            if not holds:
                raise InputError(f"speculation.{name}", getattr(self, name), remedy)

    def check(self, config: ModelConfig) -> None:
        """Refuse a model that cannot draft so.

        Raises:
            InputError: Names the remedy.
        """
        if self.kind != "mtp":
            return
        other = 'use Speculation(kind="ngram")'
        if config.mtp is None:
            raise InputError("speculation.kind", "mtp", f"this model has no MTP head; {other}")
        if config.mtp.num_nextn_predict_layers > 1:
            sets = config.mtp.num_nextn_predict_layers
            raise InputError(
                "speculation.kind", "mtp", f"drafts with one set of MTP layers, not {sets}; {other}"
            )
        for letter in config.mtp.pattern:
            if any(s.kind == "slot" for s in config.blocks[letter].states().values()):
                remedy = f"MTP layers {letter!r} cannot forget a rejected draft; {other}"
                raise InputError("speculation.kind", "mtp", remedy)


def draft_specs(config: ModelConfig, speculation: Speculation) -> dict[str, dict[str, StateSpec]]:
    """States that speculation adds to a slot, by layer key and name.

    `pending` of a Mamba layer holds the projected rows x B C | dt of the last verified tokens: the
    layer's states advance by those of them that were kept when the next tokens come. `accepted` says
    how many that are. `hidden` holds the trunk's outputs that the MTP head has not used yet.
    """
    rows = speculation.num_tokens + 1
    specs: dict[str, dict[str, StateSpec]] = {"verify": {"accepted": StateSpec((1,), "int32")}}
    for i, block in enumerate(config.layers()):
        if isinstance(block, MambaConfig):
            width = block.conv_channels + block.mamba_num_heads
            specs[f"layers.{i}"] = {"pending": StateSpec((rows, width))}
    if speculation.kind == "mtp":
        specs["mtp"] = {"hidden": StateSpec((rows, config.hidden_size))}
    return specs


class DraftTally:
    """Counts drafts and those that were kept, by their place behind the newest token."""

    def __init__(self, num_tokens: int):
        self.drafted = [0] * num_tokens
        self.accepted = [0] * num_tokens

    def add(self, drafted: int, accepted: int) -> None:
        """One verification."""
        for place in range(drafted):
            self.drafted[place] += 1
            self.accepted[place] += place < accepted

    @property
    def counts(self) -> DraftCounts:
        """As they are now."""
        return DraftCounts(tuple(self.drafted), tuple(self.accepted))


@dataclass(eq=False, slots=True)
class Drafting:
    """What speculation keeps of one request; nothing of it outlives the request."""

    tally: DraftTally
    ngrams: Ngrams | None = None
