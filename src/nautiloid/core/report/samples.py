"""Conversations of a model, as they were generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nautiloid.core.report.html import Html, tag

MAX_CHARS = 4000


def sample(note: str, turns: Sequence[Mapping[str, Any]], *, reward: float | None = None) -> Html:
    """One conversation; each turn has `role`, `content` and perhaps `reasoning`."""
    verdict: object = ""
    if reward is not None:
        verdict = tag(
            "span", "right" if reward > 0 else "wrong", class_="good" if reward > 0 else "bad"
        )
    parts = [tag("p", f"{note} ", verdict)]
    for turn in turns:
        if turn.get("reasoning"):
            parts.append(tag("div", _cut(str(turn["reasoning"])), class_="turn think"))
        role = str(turn.get("role", "assistant"))
        known = role if role in ("user", "system", "tool", "assistant") else "tool"
        parts.append(tag("div", _cut(str(turn.get("content", ""))), class_=f"turn {known}"))
    return tag("div", *parts, class_="sample")


def samples(items: Sequence[Html]) -> Html:
    """Conversations side by side."""
    return tag("div", *items, class_="samples")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARS else text[:MAX_CHARS] + " [...]"
