"""Words and phrases that a document should not hold."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.stage import Dropped, Stage, stage
from nautiloid.curate.text.prose import read_prose

_EDGES = " .,;:!?\"'()[]{}<>*_~\u2018\u2019\u201c\u201d\u2026\u2013\u2014"
_MAX_PHRASE_WORDS = 8


@stage("blocklist")
@dataclass(frozen=True, kw_only=True)
class Blocklist(Stage):
    """Drops documents in which listed words or phrases occur too often.

    Whole words are compared in lower case without punctuation at their edges, outside formulas and
    code. Reason: `blocked_words`.

    Args:
        words: Words and phrases of up to 8 words.
        files: Files with one entry a line; `#` at its start makes a line a comment.
        max_found: Most occurrences.

    >>> with Blocklist(words=("free spins",)).open() as tools:
    ...     Blocklist(max_found=0).apply(Document("1", "Now: Free Spins!"), tools).detail
    'free spins: found 1 > 0'
    """

    words: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    max_found: int = 0

    def __post_init__(self) -> None:
        if self.max_found < 0:
            raise InputError("blocklist.max_found", self.max_found, "use 0 or more")

    def open(self) -> AbstractContextManager[Any]:
        """Read the files."""
        return self._read()

    @contextlib.contextmanager
    def _read(self) -> Iterator[dict[int, frozenset[str]]]:
        entries = list(self.words)
        for name in self.files:
            try:
                lines = Path(name).read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(name, None, f"the list cannot be read: {error}") from None
            entries += [line for line in lines if not line.lstrip().startswith("#")]
        by_size: dict[int, set[str]] = {}
        for entry in entries:
            words = entry.lower().split()
            if len(words) > _MAX_PHRASE_WORDS:
                raise InputError("blocklist", entry, f"use at most {_MAX_PHRASE_WORDS} words")
            if words:
                by_size.setdefault(len(words), set()).add(" ".join(words))
        yield {size: frozenset(phrases) for size, phrases in sorted(by_size.items())}

    def apply(self, document: Document, tools: Any) -> Document | Dropped:
        """The document, or what was found in it."""
        phrases: dict[int, frozenset[str]] = tools
        if not phrases:
            return document
        words = [word.strip(_EDGES) for word in read_prose(document.text.lower()).words]
        found: list[str] = []
        for size, known in phrases.items():
            shifted = [words[k:] for k in range(size)]
            grams = words if size == 1 else map(" ".join, zip(*shifted, strict=False))
            found += [gram for gram in grams if gram in known]
        if len(found) <= self.max_found:
            return document
        shown = ", ".join(sorted(set(found))[:5])
        detail = f"{shown}: found {len(found)} > {self.max_found}"
        return Dropped("blocked_words", detail, document)
