"""The ledger: every claim of the papers, what this project has to say about it, and where that is shown.

`python -m nautiloid.recipes.repro._ledger docs/reports/index.md` writes the page from the file.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from nautiloid.core.config import from_json
from nautiloid.core.errors import InputError
from nautiloid.core.files import read_json, write_text

Verdict = Literal[
    "shape reproduced",
    "inconclusive",
    "not reproduced",
    "arithmetic checked",
    "works",
    "not attempted",
    "open",
]
LEDGER = Path(__file__).with_name("claims.json")
NEEDS_EVIDENCE = (
    "shape reproduced",
    "inconclusive",
    "not reproduced",
    "arithmetic checked",
    "works",
)
MEANING = {
    "shape reproduced": "a small experiment of the same shape comes out as published",
    "inconclusive": "measured, and the measurement does not decide",
    "not reproduced": "a small experiment of the same shape comes out otherwise",
    "arithmetic checked": "the published figure follows from published sizes",
    "works": "a capability, shown by a test",
    "not attempted": "out of reach, with the reason",
    "open": "to do; the note says what is there already",
}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One row of the ledger.

    Args:
        id: Unique short name.
        paper: Where it is claimed.
        claim: What is claimed, in one line.
        when: 1 for the first round of issues, 2 for later ones; words say under which condition.
        verdict: What this project can say; `MEANING` explains the words.
        note: Figures, limits, or why it was not attempted.
        evidence: Tests, recipes, results and reports, as paths from the root of the repository.
        date: Day of the verdict, ISO; None while nothing was shown.
    """

    id: str
    paper: str
    claim: str
    when: str
    verdict: Verdict
    note: str = ""
    evidence: tuple[str, ...] = ()
    date: str | None = None


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """All claims, in the order of the papers."""

    claims: tuple[Claim, ...]


def load_ledger(path: Path = LEDGER) -> tuple[Claim, ...]:
    """Read and check the ledger.

    Raises:
        InputError: A field is unknown or missing, an id occurs twice, or a verdict stands without
            evidence, date or reason.
    """
    claims = from_json(Ledger, read_json(path)).claims
    counts = Counter(claim.id for claim in claims)
    for claim in claims:
        field = f"{path.name}: {claim.id}"
        if counts[claim.id] > 1:
            raise InputError(field, counts[claim.id], "an id stands once")
        if claim.verdict in NEEDS_EVIDENCE and not (claim.evidence and claim.date):
            raise InputError(f"{field}: {claim.verdict}", None, "name evidence and date")
        if claim.verdict == "not attempted" and not claim.note:
            raise InputError(f"{field}: {claim.verdict}", None, "say why in note")
    return claims


def render(claims: Sequence[Claim]) -> str:
    """The ledger as a Markdown page."""
    counts = Counter(claim.verdict for claim in claims)
    lines = [
        "# Claims and verdicts",
        "",
        "Every claim of the papers, and what this project can say about it. Absolute scores of models with",
        "billions of parameters are out of reach here; the shape of a claim often is not. The table is made",
        "from `recipes/repro/claims.json`:",
        "",
        "    python -m nautiloid.recipes.repro._ledger docs/reports/index.md",
        "",
        "| verdict | meaning | claims |",
        "|---|---|---|",
        *(
            f"| {verdict} | {MEANING[verdict]} | {counts[verdict]} |"
            for verdict in get_args(Verdict)
        ),
        "",
    ]
    for paper in dict.fromkeys(claim.paper for claim in claims):
        lines += [f"## {paper}", "", "| id | claim | verdict | evidence |", "|---|---|---|---|"]
        for claim in claims:
            if claim.paper == paper:
                dated = f"{claim.verdict}, {claim.date}" if claim.date else claim.verdict
                note = f"{dated}. {claim.note}" if claim.note else dated
                paths = ", ".join(f"`{path}`" for path in claim.evidence)
                lines.append(f"| {claim.id} | {claim.claim} | {note} | {paths} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    write_text(sys.argv[1], render(load_ledger()))
