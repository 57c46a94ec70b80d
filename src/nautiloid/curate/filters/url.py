"""Addresses that are not wanted: blocked domains, words and patterns."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.stage import Dropped, Stage, stage

MAX_CHARS = 2_048
"""Longer addresses are cut: a pattern of the user must not run over megabytes."""

_ADULT = """
porn porno pornos xxx xnxx xvideos xhamster hentai milf milfs camgirl camgirls camsex sexcam
sexcams livesex hardcore blowjob blowjobs escort escorts fetish nudes nsfw upskirt pornstar
pornstars bdsm incest rapeporn
"""
ADULT = frozenset(_ADULT.split())
_SPAM = """
viagra cialis levitra casino casinos poker slots jackpot betting sportsbook payday replica
replicas torrents warez keygen serials coupon coupons dating hookup
"""
SPAM = frozenset(_SPAM.split())
_WORDS = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Lists:
    """What was read from the files of a `Url` stage."""

    domains: frozenset[str]
    urls: frozenset[str]
    patterns: tuple[re.Pattern[str], ...]


@stage("url")
@dataclass(frozen=True, kw_only=True)
class Url(Stage):
    """Drops documents by their address (`meta["url"]`); one without an address stays.

    Files hold one entry a line; `#` starts a comment, and the form of a hosts file
    (`0.0.0.0 example.org`) is read too. A domain blocks its subdomains. Reasons:
    `blocked_domain`, `blocked_url`, `blocked_pattern`, `blocked_word`, `spam_words`, `bad_url`,
    `no_url`.

    Args:
        domains: Blocked domains.
        domain_files: Files of blocked domains.
        url_files: Files of blocked addresses; scheme, `www.`, fragment and a final `/` are ignored.
        patterns: Regular expressions searched in the lower-case address.
        allowed_domains: Domains that no rule here touches.
        words: One of these words in the address drops it. Words are runs of letters and digits.
        spam_words: `max_spam_words` of these are tolerated.
        max_spam_words: Most different spam words.
        needs_url: Drop documents without an address.

    >>> with Url(domains=("spam.example",)).open() as lists:
    ...     blocked = Document("1", "", meta={"url": "https://a.spam.example/x"})
    ...     fine = Document("2", "", meta={"url": "https://example.org/poker-probabilities"})
    ...     stage = Url(domains=("spam.example",))
    ...     stage.apply(blocked, lists).reason, stage.apply(fine, lists) is fine
    ('blocked_domain', True)
    """

    domains: tuple[str, ...] = ()
    domain_files: tuple[str, ...] = ()
    url_files: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    allowed_domains: tuple[str, ...] = ()
    words: tuple[str, ...] = field(default=tuple(sorted(ADULT)))
    spam_words: tuple[str, ...] = field(default=tuple(sorted(SPAM)))
    max_spam_words: int = 1
    needs_url: bool = False

    def __post_init__(self) -> None:
        for pattern in self.patterns:
            _compile(pattern)

    def open(self) -> AbstractContextManager[Any]:
        """Read the files."""
        return self._read()

    @contextlib.contextmanager
    def _read(self) -> Iterator[Lists]:
        domains = {_host(domain) for domain in self.domains}
        for path in self.domain_files:
            domains.update(_host(entry.split()[-1]) for entry in _entries(path))
        urls: set[str] = set()
        for path in self.url_files:
            urls.update(_canonical(entry) for entry in _entries(path))
        patterns = tuple(map(_compile, self.patterns))
        yield Lists(frozenset(domains - {""}), frozenset(urls), patterns)

    def apply(self, document: Document, tools: Any) -> Document | Dropped:
        """The document, or the rule that its address breaks."""
        lists: Lists = tools
        url = document.meta.get("url")
        if not isinstance(url, str) or not url:
            return (
                Dropped("no_url", "meta.url is missing", document) if self.needs_url else document
            )
        try:
            host = _host(urlsplit(url).hostname or "")
        except ValueError as error:
            return Dropped("bad_url", f"{url[:200]}: {error}", document)
        if _matches(host, self.allowed_domains):
            return document
        blocked = _matches(host, lists.domains)
        if blocked:
            return Dropped("blocked_domain", blocked, document)
        if lists.urls and _canonical(url) in lists.urls:
            return Dropped("blocked_url", url[:200], document)
        lowered = unquote(url[:MAX_CHARS]).lower()
        for pattern in lists.patterns:
            if pattern.search(lowered):
                return Dropped("blocked_pattern", pattern.pattern, document)
        words = set(_WORDS.findall(lowered))
        found = sorted(words.intersection(self.words))
        if found:
            return Dropped("blocked_word", " ".join(found), document)
        found = sorted(words.intersection(self.spam_words))
        if len(found) > self.max_spam_words:
            return Dropped("spam_words", f"{' '.join(found)}: > {self.max_spam_words}", document)
        return document


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InputError("url.patterns", pattern, f"not a regular expression: {error}") from None


def _entries(path: str) -> Iterator[str]:
    """Lines of a list without comments."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, None, f"the list cannot be read: {error}") from None
    for line in text.splitlines():
        entry = line if line.lstrip().startswith(("http:", "https:")) else line.split("#")[0]
        if entry.strip():
            yield entry.strip()


def _host(name: str) -> str:
    """A host in the form that lists use: lower case, ASCII, without `www.` and a final dot."""
    name = name.strip().lower().rstrip(".").removeprefix("www.")
    if not name.isascii():
        with contextlib.suppress(UnicodeError):  # not a valid name: compared as it is
            return name.encode("idna").decode("ascii")
    return name


def _matches(host: str, domains: frozenset[str] | tuple[str, ...]) -> str:
    """The domain of the list that the host is or lies below; empty when there is none."""
    labels = host.split(".")
    for start in range(max(len(labels) - 10, 0), len(labels)):
        name = ".".join(labels[start:])
        if name in domains:
            return name
    return ""


def _canonical(url: str) -> str:
    url = url.strip().split("#", 1)[0]
    url = url.split("://", 1)[-1]
    host, slash, rest = url.partition("/")
    return (_host(host) + slash + rest).rstrip("/")
