"""The page around a rendered docstring: head, navigation and footer, as documentation sites have them."""

from __future__ import annotations

from collections.abc import Sequence

from nautiloid.core.report.html import Html, html, tag
from nautiloid.curate.docpages.rst import MathOutput

HOST = "https://docs.python-install.example"
LOADER = '<script src="https://cdn.example/mathjax/2/MathJax.js?config=TeX-AMS_CHTML"></script>'


def url_of(module: str) -> str:
    """Address of the page of a module.

    >>> url_of("json.decoder")
    'https://docs.python-install.example/json/decoder.html'
    """
    return f"{HOST}/{module.replace('.', '/')}.html"


def whole_page(
    module: str, body: str, names: Sequence[str], math: MathOutput, licence: str | None
) -> str:
    """An HTML page.

    Args:
        module: Dotted name.
        body: Rendered docstrings.
        names: What the sidebar lists.
        math: How formulas are written; MathJax needs its loader.
        licence: Of the package.
    """
    parents = module.split(".")
    crumbs = [
        tag("a", name, href=url_of(".".join(parents[: i + 1]))) for i, name in enumerate(parents)
    ]
    links = [tag("li", tag("a", name, href=f"#{name}")) for name in names[:40]]
    navigation = tag(
        "div",
        tag("h3", "On this page"),
        tag("ul", *links),
        tag("h3", "Quick search"),
        tag("form", Html('<input type="text" name="q"><input type="submit" value="Go">')),
        class_="sidebar",
        role="navigation",
    )
    stated = f'<meta name="license" content="{html(licence)}">' if licence else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{html(module)} - documentation</title>\n{stated}\n"
        f"{LOADER if math == 'MathJax' else ''}\n</head>\n<body>\n"
        f'<nav class="breadcrumbs">{" / ".join(crumbs)} | <a href="{HOST}/genindex.html">index</a> '
        f'| <a href="{HOST}/modindex.html">modules</a></nav>\n{navigation}\n'
        f'<main role="main"><article class="body">\n<h1>{html(module)}</h1>\n{body}\n</article></main>\n'
        "<footer><p>Generated with docutils. Report a problem. Back to top.</p></footer>\n"
        "</body>\n</html>\n"
    )
