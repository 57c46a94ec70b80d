"""Licence of a document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.stage import Dropped, Stage, stage
from nautiloid.curate.text.licence import REDISTRIBUTABLE, SPDX, find_licence, is_among, to_spdx


@stage("licence")
@dataclass(frozen=True, kw_only=True)
class Licence(Stage):
    """Brings licences to SPDX identifiers and, on request, keeps redistributable documents only.

    Asked in this order: links and names the page declares (`meta["licence_links"]`), what the
    source says (`document.licence`), the text itself. Where the page declares several different
    ones the document counts as unknown. A licence that SPDX does not know stays as it is.
    Reasons: `not_redistributable`, `unknown_licence`.

    Args:
        only_allowed: Drop documents whose licence is not in `allowed`.
        allowed: SPDX identifiers, or shell patterns of them such as `CC-BY-SA-*`.
        keeps_unknown: With `only_allowed`, keep documents without a known licence.

    >>> page = Document("1", "", meta={"licence_links": ["//creativecommons.org/licenses/by/4.0/"]})
    >>> Licence().apply(page, None).licence
    'CC-BY-4.0'
    >>> Licence(only_allowed=True).apply(Document("2", "", licence="CC BY-NC 4.0"), None).detail
    'CC-BY-NC-4.0'
    """

    only_allowed: bool = False
    allowed: tuple[str, ...] = REDISTRIBUTABLE
    keeps_unknown: bool = False

    def __post_init__(self) -> None:
        for name in self.allowed:
            if not any(is_among(known, (name,)) for known in SPDX):
                raise InputError(
                    "licence.allowed", name, "use SPDX identifiers such as MIT or CC-BY-4.0"
                )

    def apply(self, document: Document, tools: Any) -> Document | Dropped:
        """The document with its licence, or why it may not be passed on."""
        found, licence = None, document.licence
        declared = {spdx for link in _links(document) if (spdx := to_spdx(link))}
        if len(declared) == 1:
            found = declared.pop()
        elif not declared:
            found = (to_spdx(licence) if licence else None) or find_licence(document.text)
        if self.only_allowed:
            if found is None and not self.keeps_unknown:
                return Dropped("unknown_licence", licence or "none stated", document)
            if found is not None and not is_among(found, self.allowed):
                return Dropped("not_redistributable", found, document)
        if found is None or found == licence:
            return document
        return replace(document, licence=found)


def _links(document: Document) -> Iterator[str]:
    links: Any = document.meta.get("licence_links") or ()
    for link in cast(list[Any], links) if isinstance(links, list | tuple) else (links,):
        if isinstance(link, str):
            yield link
