"""The extractors that are compared: ours, lynx (the method of the paper), trafilatura."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.page import Page
from nautiloid.curate.stage import Extractor

ARMS: Mapping[str, str] = MappingProxyType(
    {
        "dom": "the default extractor of `nautiloid curate`",
        "lynx": "the text browser, with the options of the paper, without its language model",
        "trafilatura": "the extractor of many corpora, with its default settings",
    }
)
MIN_CHARS = 200
MIMES: Mapping[str, str] = MappingProxyType({".xhtml": "application/xhtml+xml"})

_INLINE = re.compile(r"\\\(([^\n]{1,2000}?)\\\)")
_DISPLAY = re.compile(r"\\\[(.{1,4000}?)\\\]|\$\$([^$]{1,4000}?)\$\$", re.DOTALL)
_FORMULA = re.compile(r"\$\$[^$]{1,4000}\$\$|(?<![\\\w$])\$[^$\n]{1,1000}\$(?!\w)")


def missing(arm: str) -> str | None:
    """What has to be installed before the arm can run; None when nothing has.

    Raises:
        InputError: There is no such arm.
    """
    if arm not in ARMS:
        raise InputError("arms", arm, f"use some of {', '.join(ARMS)}")
    if arm == "lynx" and shutil.which("lynx") is None:
        return "lynx is not installed (apt install lynx)"
    needed = {"dom": "selectolax", "trafilatura": "trafilatura"}.get(arm)
    if needed is not None and importlib.util.find_spec(needed) is None:
        return f"{needed} is not installed (pip install {needed})"
    return None


def extract(arm: str, name: str, path: Path) -> str:
    r"""Text of a page by an arm, formulas between dollars where the arm delimits them at all.

    All arms get the same delimiters (`standard`). The cleaning of the paper does that too, and without
    it the comparison would reward two characters.

    Returns:
        Empty text when the arm finds nothing worth keeping.
    """
    content = path.read_bytes()
    if arm == "trafilatura":
        text = _trafilatura(content)
    else:
        made = Extractor.registry.get(arm)().extract(
            Page(id=name, content=content, mime=MIMES.get(path.suffix, "text/html"))
        )
        text = made.text if isinstance(made, Document) else ""
    text = standard(text)
    return text if len(text) >= MIN_CHARS else ""


def _trafilatura(content: bytes) -> str:
    import trafilatura

    # Plain text, its default: the Markdown output escapes brackets, so that what it escaped and what
    # delimits a formula cannot be told apart.
    library: Any = trafilatura
    return library.extract(content) or ""


def standard(text: str) -> str:
    r"""Formulas in one notation, whatever delimited them: `$x$`, and displayed ones on lines of their own.

    >>> standard(r"with \(a\) and \[ b \]")
    'with $a$ and $$\nb\n$$'
    """
    text = _DISPLAY.sub(lambda m: f"$$\n{(m[1] or m[2]).strip()}\n$$", text)
    return _INLINE.sub(lambda m: f"${m[1].strip()}$", text)


def plain(text: str) -> str:
    """Markdown without the marks of headings, emphasis and code; formulas stay as they are.

    >>> plain("## Of *many*, `f` and $a*b*c$")
    'Of many, f and $a*b*c$'
    """
    parts: list[str] = []
    end = 0
    for start, stop in [*formula_spans(text), (len(text), len(text))]:
        prose = re.sub(r"(?m)^#+ ", "", text[end:start]).replace("`", "")
        parts += [re.sub(r"\*{1,2}([^*\n]+)\*{1,2}", r"\1", prose), text[start:stop]]
        end = stop
    return "".join(parts)


def formula_spans(text: str) -> list[tuple[int, int]]:
    """Where formulas stand between dollars.

    >>> [("a $x$ costs $ 5"[a:b]) for a, b in formula_spans("a $x$ costs $ 5")]
    ['$x$']
    """
    return [match.span() for match in _FORMULA.finditer(text)]
