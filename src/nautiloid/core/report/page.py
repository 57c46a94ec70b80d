"""One self-contained HTML page: styles inside, nothing fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from nautiloid.core.report.html import Html, html, join, tag

# The browser itself refuses scripts and the network, whatever a sample text holds.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class Section:
    """A titled part of a page; `anchor` is what the navigation links to."""

    anchor: str
    title: str
    lead: str
    body: Html

    def html(self) -> Html:
        """The markup."""
        head = (tag("h2", self.title), tag("p", self.lead, class_="lead") if self.lead else "")
        return tag("section", join(*head, self.body), id=self.anchor)


def page(
    title: str, lead: str, sections: Sequence[Section], *, footer: str = "", style: str = ""
) -> str:
    """The text of the HTML file; `style` is added to the common one.

    >>> "<script" in page("<script>", "", ())
    False
    """
    links = [tag("a", s.title, href=f"#{s.anchor}") for s in sections]
    navigation = tag("nav", *links) if len(links) > 1 else ""
    body = tag(
        "main",
        tag("header", tag("h1", title), tag("p", lead), navigation),
        *(section.html() for section in sections),
        tag("footer", footer),
    )
    common = files("nautiloid.core.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{html(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html(title)}</title>\n<style>\n{common}{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
