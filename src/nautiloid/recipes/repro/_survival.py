"""Which formulas an extractor kept, encoding by encoding: the same pages, the same TeX, known beforehand."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from nautiloid.curate.math.normal import normalise
from nautiloid.data.sources.jsonl import Jsonl
from nautiloid.recipes.repro._arms import formula_spans
from nautiloid.recipes.repro._render import encoding_of, page_formulas

MIN_CHARS = 6  # shorter ones stand in any text by chance


def survival(
    pages: Mapping[str, Path], corpus: Path, arms: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Share of the formulas that each arm kept, by encoding; `count` is how many there were.

    A formula counts as kept when the same TeX, both normalised, is one of the page's formulas, or
    when its TeX without spaces stands anywhere in the text, delimited or not.

    Args:
        pages: Of `chosen_pages`; those written anew are looked at when the originals are there too.
        corpus: Folder with the extracted pages.
        arms: Extractors.
    """
    truth = {
        id: wanted
        for id in pages
        if (wanted := _formulas(pages.get(id.replace("+/", "/", 1)))) and "+/" in id
    }
    kept: dict[str, Counter[str]] = {}
    for arm in arms:
        texts = {
            s.id: s.text or ""
            for s in Jsonl(paths=(str(corpus / "pages" / f"{arm}.jsonl.zst"),)).read()
        }
        for id, wanted in truth.items():
            package, rank, _ = id.split("/", 2)
            tally = kept.setdefault(encoding_of(f"{package.removesuffix('+')}/{rank}"), Counter())
            text = texts.get(id, "")
            found = {normalise(text[a:b]) for a, b in formula_spans(text)}
            squeezed = _squeezed(text)
            tally[arm] += sum(
                normalise(tex) in found or _squeezed(tex) in squeezed for tex in wanted
            )
            tally["count"] += len(wanted) if arm == arms[0] else 0
    return {
        encoding: {"count": tally["count"]} | {arm: tally[arm] / tally["count"] for arm in arms}
        for encoding, tally in sorted(kept.items())
    }


def _formulas(path: Path | None) -> list[str]:
    if path is None:
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    return [tex for tex, _ in page_formulas(text) if len(_squeezed(tex)) >= MIN_CHARS]


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)
