"""Jupyter notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nautiloid.curate import sniff
from nautiloid.curate.page import Fault, Page
from nautiloid.curate.reader import Item, Limits, Reader, Unit, reader
from nautiloid.curate.readers._files import fresh_listing, gather, gathered, listing
from nautiloid.curate.readers._small import read_small

SUFFIXES = (".ipynb", ".ipynb.gz")


@reader("notebook")
@dataclass(frozen=True, kw_only=True)
class Notebook(Reader):
    """Notebooks, each one page; extraction makes text of their cells.

    Args:
        skip: Endings of files that are left out, also when they are named.
    """

    skip: tuple[str, ...] = ()

    def units(self) -> Sequence[Unit]:
        """Groups of files."""
        return gather(fresh_listing(self.paths, SUFFIXES, self.skip))

    def read(self, unit: Unit, limits: Limits) -> Iterator[Item]:
        """Pages in the order of their names."""
        for entry in gathered(unit, listing(self.paths, SUFFIXES, self.skip)):
            content = read_small(entry, limits)
            if isinstance(content, Fault):
                yield content
                continue
            meta = {"file": entry.name}
            yield Page(entry.name, content, None, sniff.NOTEBOOK, "utf-8", self.licence, meta)
