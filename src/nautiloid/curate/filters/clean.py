"""Cleaning as a stage."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from nautiloid.core.types import Document
from nautiloid.curate.clean.http import Http
from nautiloid.curate.clean.rules import Rules
from nautiloid.curate.stage import Dropped, Stage, stage


@stage("clean")
@dataclass(frozen=True, kw_only=True)
class Clean(Stage):
    """Takes what does not belong to a page out of its text. Reason: `nothing_left`.

    What a model answers is checked: formulas, code and prose of the text must be in it. A document
    whose answer breaks a rule stays as it is, with the rule in `meta["reasons"]` as
    `clean:formulas_lost`, `clean:code_changed`, `clean:notation`, `clean:growth`,
    `clean:inserted`, `clean:novelty`, `clean:prose_lost`, `clean:rewritten`, `clean:rubbish`,
    `clean:truncated` or `clean:refused`.
    Tokens a document took are in `meta["cleaning"]`; their sum and price in `cost.json` of the
    cache folder.

    Args:
        cleaner: Rules, or a model behind an endpoint.

    >>> Clean().apply(Document("1", "A \u200bfact.\\n\\nBack to top"), None).text
    'A fact.'
    """

    cleaner: Rules | Http = field(default_factory=Rules)

    def open(self) -> AbstractContextManager[Any]:
        """Connect to the endpoint, if there is one."""
        return self.cleaner.open() if isinstance(self.cleaner, Http) else super().open()

    @property
    def batch_size(self) -> int:
        """Enough documents to keep all connections busy."""
        return 2 * self.cleaner.concurrency if isinstance(self.cleaner, Http) else 1

    @property
    def patience_s(self) -> float:
        """A document may wait for the endpoint as long as its settings allow."""
        if not isinstance(self.cleaner, Http):
            return 0.0
        return self.cleaner.attempts * (self.cleaner.request_s + 60.0)

    def apply(self, document: Document, tools: Any) -> Document | Dropped:
        """The document with its text cleaned."""
        return self.apply_batch((document,), tools)[0]

    def apply_batch(
        self, documents: Sequence[Document], tools: Any
    ) -> Sequence[Document | Dropped]:
        """The documents, all their pieces at the endpoint at once."""
        if isinstance(self.cleaner, Rules):
            return [_used(document, self.cleaner.clean(document.text)) for document in documents]
        results: list[Document | Dropped] = []
        cleaned = tools.clean_all([document.text for document in documents])
        for document, result in zip(documents, cleaned, strict=True):
            facts = {
                "chunks": result.chunks,
                "tokens_in": result.tokens_in,
                "tokens_out": result.tokens_out,
            }
            meta = {**document.meta, "cleaning": facts}
            if result.problem is not None:
                facts["detail"] = result.problem.detail
                former = tuple(document.meta.get("reasons") or ())
                meta["reasons"] = [*former, f"clean:{result.problem.reason}"]
            results.append(_used(replace(document, meta=meta), result.text))
        return results


def _used(document: Document, text: str) -> Document | Dropped:
    if not text.strip():
        return Dropped("nothing_left", "the cleaner left nothing", document)
    return document if text == document.text else replace(document, text=text)
