"""Folders of HTML files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from nautiloid.core.errors import InputError
from nautiloid.curate.page import Fault, Page
from nautiloid.curate.reader import Item, Limits, Reader, Unit, reader
from nautiloid.curate.readers._files import fresh_listing, gather, gathered, listing
from nautiloid.curate.readers._small import read_small

SUFFIXES = tuple(f"{end}{packed}" for end in (".html", ".htm", ".xhtml") for packed in ("", ".gz"))


@reader("html")
@dataclass(frozen=True, kw_only=True)
class Html(Reader):
    """Pages of files, each one page.

    Args:
        licences: JSON file with an object from glob patterns of file names (relative to the input,
            `*` stays in a folder, `**` does not) to licences; the first pattern that fits counts.
        base_url: Put before the names to give the pages addresses.
        skip: Endings of files that are left out, also when they are named.
    """

    licences: str | None = None
    base_url: str | None = None

    skip: tuple[str, ...] = ()

    def units(self) -> Sequence[Unit]:
        """Groups of files."""
        if self.licences is not None:
            licence_rules(self.licences)
        return gather(fresh_listing(self.paths, SUFFIXES, self.skip))

    def read(self, unit: Unit, limits: Limits) -> Iterator[Item]:
        """Pages in the order of their names."""
        rules = licence_rules(self.licences) if self.licences else ()
        for entry in gathered(unit, listing(self.paths, SUFFIXES, self.skip)):
            content = read_small(entry, limits)
            if isinstance(content, Fault):
                yield content
                continue
            licence = next((v for rule, v in rules if rule.fullmatch(entry.name)), self.licence)
            url = self.base_url + entry.name if self.base_url else None
            is_xml = entry.name.lower().removesuffix(".gz").endswith(".xhtml")
            mime = "application/xhtml+xml" if is_xml else "text/html"
            yield Page(entry.name, content, url, mime, None, licence, {"file": entry.name})


@lru_cache(maxsize=8)
def licence_rules(path: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Patterns of file names and the licences of what they match.

    Raises:
        InputError: The file cannot be read or is no object of texts.
    """
    try:
        with open(path, encoding="utf-8") as file:
            data: Any = json.load(file)
    except (OSError, ValueError) as error:
        raise InputError(path, str(error), "give a JSON object from patterns to licences") from None
    if not isinstance(data, Mapping):
        raise InputError(path, data, "expected an object from patterns to licences")
    rules: list[tuple[re.Pattern[str], str]] = []
    for pattern, licence in cast(Mapping[str, Any], data).items():
        if not isinstance(licence, str):
            raise InputError(f"{path}: {pattern}", licence, "expected the name of a licence")
        rules.append((_rule(pattern), licence))
    return tuple(rules)


def _rule(pattern: str) -> re.Pattern[str]:
    forms = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.compile("".join(forms.get(part, re.escape(part)) for part in parts), re.DOTALL)
