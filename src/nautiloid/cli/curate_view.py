"""`nautiloid curate view`."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from nautiloid.cli import flags
from nautiloid.core.errors import InputError
from nautiloid.core.files import write_text

TEXT = """
A page beside its extraction in the browser: the source, the text and the recovered formulas, in three
columns that move together. A subject is an HTML file, an http(s) address, or one record of a WARC,
JSONL or Parquet file or a notebook, named behind a # by its number, id, URL or offset.

examples:
  nautiloid curate view page.html
  nautiloid curate view crawl.warc.gz#3 --extractors dom
  nautiloid curate view https://example.org/page.html --no-browser --port 8123
  nautiloid curate view page.html --out view.html
"""


@dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """Options of `curate view`.

    Args:
        subject: File, address, or record of a file.
        extractors: Which to compare; the first is shown at the start.
        port: Of the local server; 0 takes a free one.
        no_browser: Only print the address.
        out: Write one HTML file instead of serving.
    """

    subject: Positional[str]
    extractors: tuple[str, ...] = ("dom", "lynx")
    port: int = 0
    no_browser: bool = False
    out: Path | None = None


def main(argv: Sequence[str], *, verbose: bool) -> int:
    """Run the verb."""
    if not argv:
        raise InputError("nautiloid curate view", None, "name a file or an http address")
    options = flags.parse(ViewOptions, argv, prog="nautiloid curate view", description=TEXT)
    if not options.extractors:
        raise InputError("--extractors", None, "name at least one")
    from nautiloid.curate.view.page import view_page
    from nautiloid.curate.view.subject import load

    text, policy = view_page(load(options.subject), options.extractors)
    if options.out is not None:
        write_text(options.out, text)
        print(options.out)
        return 0
    from nautiloid.curate.view.server import ViewServer

    with ViewServer(text, policy, port=options.port) as server:
        print(f"{server.url}\nCtrl-C stops", flush=True)
        if not options.no_browser:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0
