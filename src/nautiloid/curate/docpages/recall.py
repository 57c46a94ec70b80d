"""How much of what pages are known to say is in their documents."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import zstandard

from nautiloid.curate.docpages.write import TRUTH
from nautiloid.curate.math.normal import normalise
from nautiloid.curate.text.spans import cut, find_spans

WORD = re.compile(r"\w+")


@dataclass
class Share:
    """A part of a whole.

    >>> Share(1, 4).value
    0.25
    """

    found: int = 0
    total: int = 0

    def add(self, found: int, total: int) -> None:
        """Count more."""
        self.found += found
        self.total += total

    @property
    def value(self) -> float | None:
        """Found of total; None of nothing."""
        return self.found / self.total if self.total else None


@dataclass
class Recall:
    """Shares over all pages that became documents.

    Attributes:
        pages: Documents compared.
        words: Words of the page that are in the document.
        precision: Words of the document that are in the page; the rest is navigation or noise.
        code: Code blocks that are in the document letter by letter.
        formulas: Formulas whose normalised TeX is in the document, by how the page wrote them.
    """

    pages: int = 0
    words: Share = field(default_factory=Share)
    precision: Share = field(default_factory=Share)
    code: Share = field(default_factory=Share)
    formulas: dict[str, Share] = field(default_factory=dict[str, Share])

    def add(self, document: str, truth: Mapping[str, Any]) -> None:
        """Compare one document with what its page says."""
        spans = [span for span in find_spans(document) if span.is_formula]
        formulas = Counter(normalise(span.inner(document)) for span in spans)
        prose = cut(document, spans, {"inline": " ", "display": " "})
        said, found = _words(" ".join(truth["words"])), _words(prose)
        both = (said & found).total()
        self.pages += 1
        self.words.add(both, said.total())
        self.precision.add(both, found.total())
        lines = _lines_of(document)
        self.code.add(sum(_holds(lines, code) for code in truth["code"]), len(truth["code"]))
        wanted = Counter(normalise(tex) for tex, _ in truth["formulas"])
        if wanted:
            share = self.formulas.setdefault(truth["encoding"], Share())
            share.add((wanted & formulas).total(), wanted.total())

    def figures(self) -> dict[str, float]:
        """Shares by name, for `done.json`."""
        named = {"words": self.words, "precision": self.precision, "code": self.code}
        named |= {f"formulas/{name}": share for name, share in sorted(self.formulas.items())}
        return {name: round(s.value, 4) for name, s in named.items() if s.value is not None}

    def lines(self) -> Iterator[str]:
        """What a person reads, a share a line."""
        yield f"{self.pages:,} documents against the docstrings they came from"
        names = {
            "words": self.words,
            "precision of words": self.precision,
            "code blocks": self.code,
        }
        names |= {f"formulas as {name}": share for name, share in sorted(self.formulas.items())}
        for name, share in names.items():
            if share.value is not None:
                yield f"{name}: {100 * share.value:.1f} % of {share.total:,}"


def measure(pages: Path, shards: Path) -> Recall:
    """Compare documents with what is known of their pages, by URL.

    Args:
        pages: Folder that `write_pages` wrote.
        shards: Folder of Parquet shards with columns `url` and `text`.
    """
    table = pq.read_table(shards, columns=["url", "text"])
    texts = dict(zip(table["url"].to_pylist(), table["text"].to_pylist(), strict=True))
    recall = Recall()
    for truth in _records(pages / TRUTH):
        if truth["url"] in texts:
            recall.add(texts[truth["url"]], truth)
    return recall


def _records(path: Path) -> Iterator[dict[str, Any]]:
    with zstandard.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _words(text: str) -> Counter[str]:
    return Counter(WORD.findall(text))


def _lines_of(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").split("\n")]


def _holds(lines: list[str], code: str) -> bool:
    """Whether the lines of a code block follow each other, all behind the same margin.

    >>> _holds(["> if x:", ">     y", "> z"], "if x:\\n    y")
    True
    """
    wanted = _lines_of(code)
    for start, line in enumerate(lines):
        if not line.endswith(wanted[0]):
            continue
        margin = line[: len(line) - len(wanted[0])]
        if margin.strip("> "):
            continue
        found = lines[start : start + len(wanted)]
        if found == [(margin + line).rstrip() for line in wanted]:
            return True
    return False
