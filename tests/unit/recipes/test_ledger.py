"""The ledger of claims is whole, its evidence exists, and its page is current."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from nautiloid.core.errors import InputError
from nautiloid.recipes.repro._ledger import load_ledger, render

ROOT = Path(__file__).parents[3]
CLAIMS = load_ledger()


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_evidence_exists(claim) -> None:
    assert [path for path in claim.evidence if not (ROOT / path).is_file()] == []
    if claim.date is not None:
        date.fromisoformat(claim.date)


def test_the_page_is_current() -> None:
    page = (ROOT / "docs" / "reports" / "index.md").read_text(encoding="utf-8")
    assert page == render(CLAIMS), (
        "run: python -m nautiloid.recipes.repro._ledger docs/reports/index.md"
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"verdict": "proven"}, "claims.0.verdict"),
        ({"verdict": "works", "evidence": [], "date": None}, "name evidence and date"),
        ({"verdict": "not attempted", "note": ""}, "say why"),
        ({"score": 3}, "unknown field"),
        ({"id": "second"}, "an id stands once"),
    ],
)
def test_a_bad_row_is_refused(change: dict[str, object], says: str, tmp_path: Path) -> None:
    row = {"id": "first", "paper": "P", "claim": "C", "when": "1", "verdict": "open"}
    file = tmp_path / "claims.json"
    file.write_text(json.dumps({"claims": [row | change, row | {"id": "second"}]}))
    with pytest.raises(InputError, match=says):
        load_ledger(file)
