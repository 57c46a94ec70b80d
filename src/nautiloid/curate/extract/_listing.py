"""Listings: elements whose white space counts.

Each function reads the tag at `at` and returns the index to go on with.
"""

from __future__ import annotations

from nautiloid.curate.extract import _code as code
from nautiloid.curate.extract._block import Kind
from nautiloid.curate.extract._element import ELEMENTS
from nautiloid.curate.extract._writer import Writer


def listing(page: Writer, at: int) -> int:
    page.flush()
    stop = page.tokens.end(at)
    text = code.tidied(code.text_of(page.tokens, at, stop))
    if page.tables and code.is_gutter(text):
        return stop + 1
    if text:
        page.add(code.fenced(text, _language_of(page, at, stop)), Kind.CODE)
    return stop + 1


def _language_of(page: Writer, at: int, stop: int) -> str:
    """From the listing, the `code` inside it, or the element around it."""
    for index in range(at, min(at + 2, stop)):
        if language := ELEMENTS[page.tokens.tags[index]].language:
            return language
    return page.language
