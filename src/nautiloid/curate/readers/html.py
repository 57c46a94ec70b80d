"""Folders of HTML files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from nautiloid.core.errors import InputError
from nautiloid.curate.page import Fault, Page
from nautiloid.curate.reader import Item, Limits, Reader, Unit, reader
from nautiloid.curate.readers._files import Entry, gather, listing
from nautiloid.curate.warc.http import FREE_BYTES
from nautiloid.curate.warc.members import DamageError, codec

SUFFIXES = tuple(f"{end}{packed}" for end in (".html", ".htm", ".xhtml") for packed in ("", ".gz"))


@reader("html")
@dataclass(frozen=True, kw_only=True)
class Html(Reader):
    """Pages of files, each one page.

    Args:
        licences: JSON file with an object from glob patterns of file names (relative to the input,
            `*` stays in a folder, `**` does not) to licences; the first pattern that fits counts.
        base_url: Put before the names to give the pages addresses.
    """

    licences: str | None = None
    base_url: str | None = None

    def units(self) -> Sequence[Unit]:
        """Groups of files."""
        if self.licences is not None:
            licence_rules(self.licences)
        return gather(listing(self.paths, SUFFIXES))

    def read(self, unit: Unit, limits: Limits) -> Iterator[Item]:
        """Pages in the order of their names."""
        rules = licence_rules(self.licences) if self.licences else ()
        for entry in listing(self.paths, SUFFIXES)[unit.start : unit.stop]:
            content = read_small(entry, limits)
            if isinstance(content, Fault):
                yield content
                continue
            licence = next((v for rule, v in rules if rule.fullmatch(entry.name)), self.licence)
            url = self.base_url + entry.name if self.base_url else None
            is_xml = entry.name.lower().removesuffix(".gz").endswith(".xhtml")
            mime = "application/xhtml+xml" if is_xml else "text/html"
            yield Page(entry.name, content, url, mime, None, licence, {"file": entry.name})


def read_small(entry: Entry, limits: Limits) -> bytes | Fault:
    """The bytes of a small file, `.gz` unpacked within the limits."""
    try:
        # links and devices were refused when the file was listed; it may have changed since
        with open(os.open(entry.path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            content = file.read(limits.page_bytes + 1)
    except OSError as error:
        return Fault(entry.name, "unreadable", error.strerror or str(error))
    if len(content) > limits.page_bytes:
        return Fault(entry.name, "too_large", f"over {limits.page_bytes} bytes")
    if not entry.path.lower().endswith(".gz"):
        return content if content else Fault(entry.name, "empty", "the file has no bytes", 0)
    parts: list[bytes] = []
    size = 0
    try:
        for piece in codec(content).pieces(0):
            size += len(piece.content)
            if size > limits.page_bytes:
                return Fault(entry.name, "too_large", f"over {limits.page_bytes} bytes unpacked")
            if size > max(FREE_BYTES, limits.expansion * len(content)):
                detail = f"over {limits.expansion:g} times its stored size"
                return Fault(entry.name, "bomb", detail)
            parts.append(piece.content)
    except DamageError as damage:
        reason = "corrupt_record" if damage.reason == "corrupt" else damage.reason
        return Fault(entry.name, reason, damage.detail)
    return b"".join(parts)


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
