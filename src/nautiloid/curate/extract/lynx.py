"""The method of Nemotron-CC-Math: the text browser lynx, one process a page."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import lru_cache

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.charset import decode
from nautiloid.curate.extract import _media as media
from nautiloid.curate.page import Page
from nautiloid.curate.stage import Dropped, Extractor, extractor

# Those of NeMo Curator, and what keeps a hostile page inside: no network, no commands, no settings.
FLAGS = (
    "-dump",
    "-stdin",
    "-force_html",
    "-nolist",
    "-width=10000",
    "-assume_charset=utf-8",
    "-display_charset=utf-8",
    "-localhost",
    "-restrictions=all",
    "-cfg=/dev/null",
    "-lss=/dev/null",
)
_TITLE = re.compile(r"(?is)<title[^>]{0,200}>([^<]{0,1000})")


@extractor("lynx")
@dataclass(frozen=True, kw_only=True)
class Lynx(Extractor):
    """What lynx prints. It wraps lines near 1,000 columns whatever it is told.

    Args:
        timeout_s: A page that takes longer is dropped with reason `timeout`.
    """

    timeout_s: float = 20.0

    def extract(self, page: Page) -> Document | Dropped:
        """The printed page; `failed` where lynx ends with an error.

        Raises:
            InputError: lynx is not installed.
        """
        text, charset = decode(page.content, page.charset, page.mime, page.url)
        kind = media.kind_of(page, text)
        if kind != "html":
            return media.plain_document(page, text, charset, kind)
        try:
            printed = render(text, self.timeout_s)
        except subprocess.TimeoutExpired:
            return Dropped("timeout", f"lynx took more than {self.timeout_s:g} s")
        except subprocess.CalledProcessError as error:
            return Dropped("failed", f"lynx ended with status {error.returncode}")
        match = _TITLE.search(text)
        title = " ".join(match.group(1).split()) if match else None
        return media.document(page, printed, charset, {"title": title or None})


def render(html: str, timeout_s: float = 20.0) -> str:
    """What lynx prints for a source.

    Raises:
        subprocess.TimeoutExpired: It took longer.
        subprocess.CalledProcessError: It ended with an error.
    """
    # The meta element of a page overrides every option. References need no character set, so the
    # page may declare what it likes; a NUL would end the page.
    source = html.replace("\0", "").encode("ascii", "xmlcharrefreplace")
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [_program(), *FLAGS],
            input=source,
            capture_output=True,
            timeout=timeout_s,
            check=True,
            cwd=home,
            env={"HOME": home, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TERM": "dumb"},
        )
    return done.stdout.decode("utf-8", "replace").strip("\n")


@lru_cache(maxsize=1)
def _program() -> str:
    found = shutil.which("lynx")
    if found is None:
        raise InputError("lynx", "not installed", "apt-get install lynx")
    return found
