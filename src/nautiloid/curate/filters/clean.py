"""Cleaning as a stage."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from nautiloid.core.types import Document
from nautiloid.curate.clean.rules import Rules
from nautiloid.curate.stage import Dropped, Stage, stage


@stage("clean")
@dataclass(frozen=True, kw_only=True)
class Clean(Stage):
    """Takes what does not belong to a page out of its text. Reason: `nothing_left`.

    Args:
        cleaner: By rules.

    >>> Clean().apply(Document("1", "A \u200bfact.\\n\\nBack to top"), None).text
    'A fact.'
    """

    cleaner: Rules = field(default_factory=Rules)

    def apply(self, document: Document, tools: Any) -> Document | Dropped:
        """The document with its text cleaned."""
        text = self.cleaner.clean(document.text)
        if not text.strip():
            return Dropped("nothing_left", "the cleaner left nothing", document)
        return document if text == document.text else replace(document, text=text)
