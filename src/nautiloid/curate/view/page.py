"""The page with three columns: source, text, formulas. One file, nothing fetched."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from nautiloid.core.report.html import Html, html, join, tag
from nautiloid.core.report.table import show
from nautiloid.core.types import Document
from nautiloid.curate.page import Page
from nautiloid.curate.text.spans import find_spans
from nautiloid.curate.view.extraction import Extraction, extract
from nautiloid.curate.view.formulas import Row, align
from nautiloid.curate.view.markdown import render
from nautiloid.curate.view.source import Source, sanitise

SCRIPTS = ("katex/katex.min.js", "view.js")
FRAME_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def view_page(page: Page | Document, extractors: Sequence[str]) -> tuple[str, str]:
    """The HTML file about a page, and the policy that it carries.

    Args:
        page: What a reader gave.
        extractors: Names of those to compare; the first one is shown at the start.

    Raises:
        InputError: A library that reads pages is not installed.
    """
    charset, source = "", Source(Html(""), (), (), False)
    if isinstance(page, Page):
        from nautiloid.curate.charset import decode

        text, charset = decode(page.content, page.charset, page.mime)
        source = sanitise(text)
    views = [_View(e, source) for e in extract(page, extractors)]
    title = next((v.title for v in views if v.title), page.id)
    head = tag(
        "header", tag("h1", _with_formulas(title)), _origin(page, charset, source), _switch(views)
    )
    frame = tag("iframe", sandbox="allow-same-origin", title="source", srcdoc=_frame(source))
    left = _column("source", "Source", "scripts off, network off", frame)
    if isinstance(page, Document):
        left = Html("")
    middle = _column("text", "Text", "", *(v.text for v in views))
    right = _column("formulas", "Formulas", "", *(v.formulas for v in views))
    kind = "columns" if left else "columns two"
    body = join(head, tag("main", left, middle, right, class_=kind))
    return _document(title, body)


class _View:
    """One extraction in the middle and the right column."""

    def __init__(self, extraction: Extraction, source: Source):
        rendered = render(extraction.text)
        rows = align(rendered.formulas, extraction.formulas, source.formulas, source.order)
        self.name = extraction.name
        self.title = extraction.facts.get("title", "")
        kept = sum(row.span is not None for row in rows)
        facts = {
            "formulas": f"{kept:,}",
            **{k: v for k, v in extraction.facts.items() if k != "title"},
            **{k: f"{v:,}" for k, v in rendered.counts.items()},
        }
        chips = [
            tag("span", tag("b", value), f" {name}", class_="chip") for name, value in facts.items()
        ]
        warnings = [tag("p", extraction.warning, class_="warning")] if extraction.warning else []
        self.text = tag(
            "div",
            tag("p", *chips, class_="chips"),
            *warnings,
            tag("article", rendered.body, class_="rendered"),
            tag("pre", extraction.text, class_="raw"),
            **_part(self.name),
        )
        self.formulas = tag("div", _summary(rows), _table(rows), **_part(self.name))


def _part(name: str) -> dict[str, str]:
    return {"class": "part", "data-extractor": name}


def _column(name: str, title: str, note: str, *content: Html) -> Html:
    heading = tag("h2", title, tag("small", note)) if note else tag("h2", title)
    return tag("section", heading, tag("div", *content, class_="scroll"), id=name)


def _origin(page: Page | Document, charset: str, source: Source) -> Html:
    url = page.url if isinstance(page, Page) else page.meta.get("url")
    parts = [str(url or page.id)]
    if isinstance(page, Page):
        parts += [f"{len(page.content):,} bytes", page.mime or "no media type", charset]
    if page.licence:
        parts.append(page.licence)
    if source.is_cut:
        parts.append("the source is shown in part")
    return tag("p", " \u00b7 ".join(part for part in parts if part), class_="origin")


def _with_formulas(title: str) -> Html:
    """A headline; sites put formulas into theirs."""
    parts: list[Html] = []
    at = 0
    for span in find_spans(title, is_foreign=True):
        if span.is_formula:
            parts += [html(title[at : span.start]), tag("span", span.inner(title), class_="tex")]
            at = span.stop
    return Html("".join((*parts, html(title[at:]))))


def _switch(views: Sequence[_View]) -> Html:
    names = [tag("button", view.name, type="button", **{"data-show": view.name}) for view in views]
    raw = tag("button", "Markdown", type="button", **{"data-toggle": "raw"})
    return tag("nav", *names, tag("span", class_="gap"), raw)


def _summary(rows: Sequence[Row]) -> Html:
    counts = Counter(row.encoding for row in rows if row.span is not None)
    lost = sum(row.span is None for row in rows)
    chips = [
        tag("span", tag("b", f"{n:,}"), f" {name}", class_="chip")
        for name, n in counts.most_common()
    ]
    if lost:
        chips.append(tag("span", tag("b", f"{lost:,}"), " only in the source", class_="chip lost"))
    chips.append(tag("span", tag("b", "0"), " not understood by KaTeX", class_="chip broken"))
    return tag("p", *chips, class_="chips")


def _table(rows: Sequence[Row]) -> Html:
    if not rows:
        return tag("p", "no formulas", class_="none")
    lines: list[Html] = []
    for number, row in enumerate(rows, 1):
        places = {"data-span": row.span, "data-mark": row.mark}
        given = {name: value for name, value in places.items() if value is not None}
        mode = "display" if row.is_display else "inline"
        state = "" if row.span is not None else " \u00b7 not in the text"
        kind = "row" if row.span is not None else "row lost"
        lines.append(
            tag(
                "li",
                tag("p", tag("b", show(number)), f" {row.encoding} \u00b7 {mode}{state}"),
                tag("div", tag("span", row.tex, class_="tex block"), class_="set"),
                tag("code", row.tex),
                **{"class": kind, **given},
            )
        )
    return tag("ol", *lines, class_="formulas")


def _frame(source: Source) -> str:
    style = _asset("frame.css")
    return (
        '<!doctype html><html><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{html(FRAME_POLICY)}">'
        f"<style>{style}</style></head><body>{source.markup}</body></html>"
    )


def _document(title: str, body: Html) -> tuple[str, str]:
    scripts = [_asset(name) for name in SCRIPTS]
    digests = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in scripts
    )
    policy = (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data:; "
        "font-src data:; base-uri 'none'; form-action 'none'"
    )
    report = files("nautiloid.core.report").joinpath("page.css").read_text(encoding="utf-8")
    style = "\n".join((report, _katex_style(), _asset("view.css")))
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{html(policy)}">\n'
        '<meta name="referrer" content="no-referrer">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{body}\n"
        + "".join(f"<script>{text}</script>\n" for text in scripts)
        + "</body>\n</html>\n"
    )
    return text, policy


@cache
def _asset(name: str) -> str:
    return files("nautiloid.curate.view").joinpath("assets", name).read_text(encoding="utf-8")


@cache
def _katex_style() -> str:
    """KaTeX's style with its woff2 fonts inside and the other formats left out."""
    folder = files("nautiloid.curate.view").joinpath("assets", "katex")

    def embed(found: re.Match[str]) -> str:
        data = base64.b64encode(folder.joinpath(found[1]).read_bytes()).decode()
        return f'url(data:font/woff2;base64,{data}) format("woff2")'

    style = re.sub(
        r',url\([^)]*\.(?:woff|ttf)\) format\("\w+"\)', "", _asset("katex/katex.min.css")
    )
    return re.sub(r'url\((fonts/[^)]*\.woff2)\) format\("woff2"\)', embed, style)
