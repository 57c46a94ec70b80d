"""The extractors that are compared: each from the source of a page to its text."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from nautiloid.curate.extract._html import extract_html
from nautiloid.curate.extract.lynx import render

Extract = Callable[[str], str]


@dataclass(frozen=True)
class Tool:
    """One way to the text of a page.

    Args:
        name: In rows and tables.
        extract: From source to text; None when the tool is not there.
        reason: Why it is not.
    """

    name: str
    extract: Extract | None
    reason: str | None = None


def tools() -> list[Tool]:
    """Ours first, then the peers, those that are missing with the reason."""
    found = [Tool("ours", lambda html: extract_html(html).text)]
    if shutil.which("lynx"):
        found.append(Tool("lynx", render))
    else:
        found.append(Tool("lynx", None, "lynx is not installed: apt-get install lynx"))
    for module, made in (
        ("trafilatura", _trafilatura),
        ("resiliparse", _resiliparse),
        ("justext", _justext),
    ):
        try:
            importlib.import_module(module)
        except ImportError:
            names = [tool.name for tool in made(check=False)]
            found += [Tool(name, None, f"{module} is not installed") for name in names]
        else:
            found += made(check=True)
    return found


def _trafilatura(check: bool) -> list[Tool]:
    names = ("trafilatura", "trafilatura precision")
    if not check:
        return [Tool(name, None) for name in names]
    from trafilatura import extract

    def plain(html: str) -> str:
        return extract(html, output_format="markdown", include_tables=True) or ""

    def precise(html: str) -> str:
        return (
            extract(html, output_format="markdown", include_tables=True, favor_precision=True) or ""
        )

    return [Tool(names[0], plain), Tool(names[1], precise)]


def _resiliparse(check: bool) -> list[Tool]:
    names = ("resiliparse main", "resiliparse main+alt", "resiliparse all+alt")
    if not check:
        return [Tool(name, None) for name in names]
    from resiliparse.extract.html2text import extract_plain_text

    return [
        Tool(names[0], lambda html: extract_plain_text(html, main_content=True)),
        Tool(names[1], lambda html: extract_plain_text(html, main_content=True, alt_texts=True)),
        Tool(names[2], lambda html: extract_plain_text(html, main_content=False, alt_texts=True)),
    ]


def _justext(check: bool) -> list[Tool]:
    if not check:
        return [Tool("jusText", None)]
    from justext import get_stoplist, justext

    words = get_stoplist("English")

    def extract(html: str) -> str:
        paragraphs = justext(html, words)
        return "\n\n".join(p.text for p in paragraphs if not p.is_boilerplate)

    return [Tool("jusText", extract)]
