"""Jupyter notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nautiloid.core.types import Document
from nautiloid.curate import sniff
from nautiloid.curate.charset import decode
from nautiloid.curate.notebook import NotebookError, notebook_text
from nautiloid.curate.page import Fault
from nautiloid.curate.reader import Item, Limits, Reader, Unit, reader
from nautiloid.curate.readers._files import fresh_listing, gather, gathered, listing
from nautiloid.curate.readers._small import read_small

SUFFIXES = (".ipynb", ".ipynb.gz")


@reader("notebook")
@dataclass(frozen=True, kw_only=True)
class Notebook(Reader):
    """Documents of notebooks: prose, code in fences, and what the code printed.

    Args:
        skip: Endings of files that are left out, also when they are named.
    """

    skip: tuple[str, ...] = ()

    def units(self) -> Sequence[Unit]:
        """Groups of files."""
        return gather(fresh_listing(self.paths, SUFFIXES, self.skip))

    def read(self, unit: Unit, limits: Limits) -> Iterator[Item]:
        """Documents in the order of their names."""
        for entry in gathered(unit, listing(self.paths, SUFFIXES, self.skip)):
            content = read_small(entry, limits)
            if isinstance(content, Fault):
                yield content
                continue
            text, charset = decode(content, None, "application/json")
            try:
                text, title = notebook_text(text)
            except NotebookError as error:
                yield Fault(entry.name, "bad_notebook", str(error))
                continue
            meta: dict[str, Any] = {"file": entry.name, "mime": sniff.NOTEBOOK, "charset": charset}
            if title is not None:
                meta["title"] = title
            if text.strip():
                yield Document(entry.name, text, licence=self.licence, meta=meta)
