"""From the source of a page to its text: the steps of the `dom` extractor in order."""

from __future__ import annotations

import re
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser

from nautiloid.curate.extract import _markdown as markdown
from nautiloid.curate.extract import _prune as prune
from nautiloid.curate.extract import _source as source
from nautiloid.curate.extract._block import Kind
from nautiloid.curate.extract._element import parse
from nautiloid.curate.extract._tokens import Tokens
from nautiloid.curate.extract._walk import Walker
from nautiloid.curate.math.formula import OPEN, SHIELDS, Formula
from nautiloid.curate.math.recover import Recovery

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")
_LICENCE = re.compile(
    r"""<(?:meta|link|a)\b[^<>]{0,500}?\b(?:rel|name|property)\s?=\s?["']?(?:cc:|dc\.|dcterms\.)?license\b[^<>]{0,500}""",
    re.IGNORECASE,
)
_VALUE = re.compile(r"""(?:content|href)\s?=\s?["']?([^"'\s<>][^"'<>]{0,300})""", re.IGNORECASE)
# Their content must not be seen as tags; formulas inside have been taken out before.
_STRIPPED = "script, style, noscript, template, svg, iframe, noembed, noframes, textarea"


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a page says.

    Args:
        text: Markdown with `$...$` and `$$...$$`.
        title: Of the head of the page.
        language: As the page declares it, such as `en` or `pt-BR`.
        formulas: Those of the text, in its order.
        licences: Addresses or names that the page gives as its licence.
    """

    text: str
    title: str | None
    language: str | None
    formulas: tuple[Formula, ...]
    licences: tuple[str, ...] = ()


def extract_html(html: str, url: str | None = None, *, keeps_all: bool = False) -> Extraction:
    """Text of a page.

    Args:
        html: Decoded source, however broken.
        url: Where it came from.
        keeps_all: Leave navigation, headers and footers in.
    """
    html, recovery = Recovery.prepare(source.mended(html))
    tree = LexborHTMLParser(html)
    recovery.replace(tree)
    root = tree.root
    if root is None:
        return Extraction("", None, None, ())
    title_node = tree.css_first("title")
    title = " ".join(title_node.text().split()) if title_node is not None else ""
    for node in tree.css(_STRIPPED):
        node.decompose(recursive=False)
    tokens = Tokens.of(root.html or "")
    walker = Walker(tokens, recovery, keeps_all)
    walker.walk()
    blocks = walker.blocks if keeps_all else prune.content(walker.blocks, walker.spans, title)
    formulas: list[Formula] = []
    for block in blocks:
        if OPEN in block.text:
            formulas += recovery.kept(block.text)
            if block.kind >= Kind.TABLE:
                # A row of a table and a heading are one line.
                block.text = recovery.render(block.text, True)
    text = _unshielded(markdown.join(blocks))
    if OPEN in text:
        lines = text.split("\n")
        text = "\n".join(recovery.render(line) if OPEN in line else line for line in lines)
    if OPEN in text:
        # An icon of the page.
        text = text.replace(OPEN, "")
    licences = _licences(html) if "license" in html else ()
    title = recovery.render(recovery.in_text(title), True)
    return Extraction(text, title or None, _language(tokens), tuple(formulas), licences)


def _licences(html: str) -> tuple[str, ...]:
    """What `meta name=license` and links with `rel=license` name, each once."""
    found: dict[str, None] = {}
    for match in _LICENCE.finditer(html):
        value = _VALUE.search(match.group(0))
        if value is not None:
            found[value.group(1).strip()] = None
    return tuple(found)


def _unshielded(text: str) -> str:
    """Text with the characters that inline code hid; cheaper than a translation of all of it."""
    for char, mark in SHIELDS.items():
        if mark in text:
            text = text.replace(mark, char)
    return text


def _language(tokens: Tokens) -> str | None:
    """Of the `html` element, else of a meta element."""
    for name, rest in zip(tokens.names[:200], tokens.attributes, strict=False):
        found = ""
        if name == "html":
            attributes = parse(name, rest).attributes
            found = attributes.get("lang") or attributes.get("xml:lang") or ""
        elif name == "meta" and "content-language" in rest.lower():
            found = parse(name, rest).attributes.get("content", "")
        elif name == "body":
            return None
        if match := _LANGUAGE.fullmatch(found.strip()):
            return match.group(0).replace("_", "-")
    return None
