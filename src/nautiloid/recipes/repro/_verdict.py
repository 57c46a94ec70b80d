"""From scores to a verdict: paired differences over seeds, with rules that are fixed beforehand."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from statistics import mean, stdev
from types import MappingProxyType
from typing import Any, Literal

# Two-sided 95 % points of Student's t by degrees of freedom.
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086)  # fmt: skip
RESAMPLES = 2000

# [subject][document] -> bits, bytes, formula bits, formula bytes
Scores = Mapping[str, Mapping[str, Sequence[float]]]
Measure = Literal["math", "code", "text", "formulas", "prose"]
MEASURES: Mapping[str, tuple[str, Any]] = MappingProxyType(
    {
        "math": ("math", lambda row: (row[0], row[1])),
        "code": ("code", lambda row: (row[0], row[1])),
        "text": ("text", lambda row: (row[0], row[1])),
        "formulas": ("math", lambda row: (row[2], row[3])),
        "prose": ("math", lambda row: (row[0] - row[2], row[1] - row[3])),
    }
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Ours minus a peer in bits per byte; negative is better.

    Args:
        mean: Over seeds.
        low: Lower end of the 95 % t interval over seeds.
        high: Upper end.
        by_seed: Each seed's.
        documents: 2.5 % and 97.5 % points of the mean when held-out documents are drawn again.
    """

    mean: float
    low: float
    high: float
    by_seed: tuple[float, ...]
    documents: tuple[float, float]


def bits_per_byte(scores: Scores, measure: str) -> float:
    """One model's figure."""
    subject, parts = MEASURES[measure]
    rows = [parts(row) for row in scores[subject].values()]
    return sum(row[0] for row in rows) / max(sum(row[1] for row in rows), 1e-9)


def difference(ours: Sequence[Scores], peer: Sequence[Scores], measure: str) -> Difference:
    """Paired over seeds: `ours[i]` and `peer[i]` have the same seed, pages and order of training."""
    assert len(ours) == len(peer) >= 2
    values = [
        bits_per_byte(a, measure) - bits_per_byte(b, measure)
        for a, b in zip(ours, peer, strict=True)
    ]
    centre, low, high = interval(values)
    return Difference(
        mean=centre,
        low=low,
        high=high,
        by_seed=tuple(values),
        documents=_over_documents(ours, peer, measure),
    )


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and two-sided 95 % t interval of at least two values.

    >>> [round(x, 2) for x in interval([1.0, 2.0, 3.0])]
    [2.0, -0.48, 4.48]
    """
    half = _T95[min(len(values) - 2, len(_T95) - 1)] * stdev(values) / sqrt(len(values))
    return mean(values), mean(values) - half, mean(values) + half


def contrast(more: Mapping[str, Any], less: Mapping[str, Any]) -> dict[str, Any]:
    """How much larger the differences of one set are than those of another, paired over seeds.

    Args:
        more: What `compare` made of a set.
        less: The same of another set with the same seeds.
    """
    found: dict[str, Any] = {}
    for peer, by in more["differences"].items():
        found[peer] = {}
        for measure, values in by.items():
            other = less["differences"][peer][measure]["by_seed"]
            changes = [a - b for a, b in zip(values["by_seed"], other, strict=True)]
            centre, low, high = interval(changes)
            found[peer][measure] = {"mean": centre, "low": low, "high": high}
    return found


def _over_documents(
    ours: Sequence[Scores], peer: Sequence[Scores], measure: str
) -> tuple[float, float]:
    subject, parts = MEASURES[measure]
    rows: list[tuple[float, float]] = []  # mean difference in bits, bytes
    for id in ours[0][subject]:
        pairs = [
            (parts(a[subject][id]), parts(b[subject][id])) for a, b in zip(ours, peer, strict=True)
        ]
        rows.append((mean(a[0] - b[0] for a, b in pairs), pairs[0][0][1]))
    draws = random.Random(0)
    means: list[float] = []
    for _ in range(RESAMPLES):
        drawn = draws.choices(rows, k=len(rows))
        means.append(sum(row[0] for row in drawn) / max(sum(row[1] for row in drawn), 1e-9))
    means.sort()
    return means[RESAMPLES // 40], means[-RESAMPLES // 40 - 1]


def verdict(differences: Mapping[str, Mapping[str, Difference]], margin: float) -> str:
    """The word for the ledger, by the rule of the recipe.

    Args:
        differences: By peer, then by measure.
        margin: What code and text may be worse by, in bits per byte.
    """
    gains = [by["math"] for by in differences.values()]
    costs = [by[name] for by in differences.values() for name in ("code", "text")]
    if any(d.low > 0 for d in gains) or any(d.low > margin for d in costs):
        return "not reproduced"
    if all(d.high < 0 for d in gains) and all(d.high < margin for d in costs):
        return "shape reproduced"
    return "inconclusive"


def compare(scores: Mapping[str, Sequence[Scores]], margin: float) -> dict[str, Any]:
    """Everything about one set of pages as JSON values.

    Args:
        scores: By arm, ours first; one entry a seed.
        margin: See `verdict`.
    """
    ours, *peers = scores
    differences = {
        peer: {m: difference(scores[ours], scores[peer], m) for m in MEASURES} for peer in peers
    }
    return {
        "bits_per_byte": {
            arm: {m: [bits_per_byte(s, m) for s in by_seed] for m in MEASURES}
            for arm, by_seed in scores.items()
        },
        "differences": {
            peer: {m: asdict(d) for m, d in by.items()} for peer, by in differences.items()
        },
        "rule_says": verdict(differences, margin),
    }


def only(
    scores: Mapping[str, Sequence[Scores]], ids: Collection[str]
) -> dict[str, list[dict[str, Any]]]:
    """The same scores with no other held-out mathematics than the documents `ids`."""
    return {
        arm: [
            {**one, "math": {id: row for id, row in one["math"].items() if id in ids}}
            for one in by_seed
        ]
        for arm, by_seed in scores.items()
    }


def headline(sets: Mapping[str, Any]) -> dict[str, float]:
    """Mean differences on mathematics, by set and peer."""
    return {
        f"{name}: math against {peer}": by["math"]["mean"]
        for name, compared in sets.items()
        for peer, by in compared["differences"].items()
    }
