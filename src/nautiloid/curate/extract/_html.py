"""From the source of a page to its text: the steps of the `dom` extractor in order."""

from __future__ import annotations

import re
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser, LexborNode

from nautiloid.curate.extract import _markdown as markdown
from nautiloid.curate.extract import _prune as prune
from nautiloid.curate.extract import _source as source
from nautiloid.curate.extract._block import Kind
from nautiloid.curate.extract._main import main_of
from nautiloid.curate.extract._tokens import Tokens, without_comments
from nautiloid.curate.extract._walk import walk
from nautiloid.curate.math.formula import CLOSE, OPEN, Formula
from nautiloid.curate.math.recover import Recovery

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")
_LICENCE = re.compile(
    r"""(?i)<(?:meta|link|a)\b.*?\b(?:rel|name|property)\s?=\s?["']?(?:cc:|dc\.|dcterms\.)?license\b""",
    re.DOTALL,
)
_MOST_LICENCES = 50
_TAG_CHARS = 600
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
    serialised = without_comments(root.html or "")
    tokens = Tokens.of(serialised) if keeps_all else main_of(serialised)
    if "xmp" in tokens.names or "plaintext" in tokens.names:
        # Their content is no markup, but the serialiser writes it as if it were.
        escaped = source.without_raw(html)
        if escaped != html:
            return extract_html(escaped, url, keeps_all=keeps_all)
    page = walk(tokens, recovery, keeps_all)
    blocks = page.blocks if keeps_all else prune.content(page.blocks, page.spans, title)
    formulas: list[Formula] = []
    for block in blocks:
        if OPEN in block.text:
            formulas += recovery.kept(block.text)
            if block.kind >= Kind.TABLE:
                # A row of a table and a heading are one line.
                block.text = recovery.render(block.text, True)
    text = recovery.render(markdown.join(blocks))
    if OPEN in text or CLOSE in text:
        # An icon of the page.
        text = text.replace(OPEN, "").replace(CLOSE, "")
    licences = _licences(html) if "license" in html else ()
    title = recovery.render(recovery.in_text(title), True)
    return Extraction(text, title or None, _language(tree, root), tuple(formulas), licences)


def _licences(html: str) -> tuple[str, ...]:
    """What `meta name=license` and links with `rel=license` name, each once."""
    found: dict[str, None] = {}
    position = 0
    for _ in range(_MOST_LICENCES):
        position = html.find("license", position)
        if position < 0:
            break
        start = html.rfind("<", max(0, position - _TAG_CHARS), position)
        tag = html[start : html.find(">", position, position + _TAG_CHARS)] if start >= 0 else ""
        position += len("license")
        if _LICENCE.match(tag) and (value := _VALUE.search(tag)):
            found[value.group(1).strip()] = None
    return tuple(found)


def _language(tree: LexborHTMLParser, root: LexborNode) -> str | None:
    """Of the `html` element, else of a meta element."""
    attributes = root.attributes
    found = attributes.get("lang") or attributes.get("xml:lang")
    if not found:
        meta = tree.css_first('meta[http-equiv="content-language" i]')
        found = meta.attributes.get("content") if meta is not None else None
    match = _LANGUAGE.fullmatch((found or "").strip())
    return match.group(0).replace("_", "-") if match else None
