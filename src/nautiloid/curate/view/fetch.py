"""One page from the web: http and https only, bounded in size, time and redirects."""

from __future__ import annotations

import ipaddress
import socket
import time
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.parse import urlsplit

from nautiloid.core.errors import InputError
from nautiloid.curate.page import Page

AGENT = "nautiloid-view (one page, asked for by a person)"
CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class FetchLimits:
    """Bounds of a fetch.

    Args:
        size_bytes: Of the page, also after decompression.
        total_s: From the first packet to the last.
    """

    size_bytes: int = 20 << 20
    total_s: float = 20.0


def fetch(url: str, limits: FetchLimits | None = None) -> Page:
    """Fetch a page.

    A redirect never leads to another scheme, nor from a public address to a private one.

    Raises:
        InputError: Another scheme, no answer, an error status, or a limit was passed.
    """
    limits = limits or FetchLimits()
    _check_scheme(url)
    deadline = time.monotonic() + limits.total_s
    follow = _Redirects(may_be_private=is_private(url))
    handlers = (follow, urllib.request.HTTPHandler(), urllib.request.HTTPSHandler())
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        *handlers,
    ):
        opener.add_handler(handler)
    headers = {"User-Agent": AGENT, "Accept": "text/html,*/*;q=0.5", "Accept-Encoding": "gzip"}
    request = urllib.request.Request(url, headers=headers)
    try:
        with opener.open(request, timeout=limits.total_s) as answer:
            content = _read(answer, limits, deadline, url)
            declared = answer.headers.get_content_charset()
            mime = answer.headers.get_content_type() if answer.headers["Content-Type"] else None
            return Page(id=answer.url, content=content, url=answer.url, mime=mime, charset=declared)
    except urllib.error.HTTPError as error:
        raise InputError(url, f"status {error.code}", "open it in a browser first") from None
    except urllib.error.URLError as error:
        raise InputError(url, "no answer", str(error.reason)) from None
    except (HTTPException, zlib.error, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(url, "no usable answer", f"{type(error).__name__}: {error}") from None


def is_private(url: str) -> bool:
    """Whether any address of the host is not a public one; an unknown host counts as public.

    >>> is_private("http://127.0.0.1:8000/x")
    True
    """
    host = urlsplit(url).hostname or ""
    try:
        found = socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)
    except OSError:
        return False  # the connection will say so
    return any(
        not ipaddress.ip_address(str(entry[4][0]).split("%")[0]).is_global for entry in found
    )


def _check_scheme(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError("URL", url, "use an http or https address with a host")


def _read(answer: Any, limits: FetchLimits, deadline: float, url: str) -> bytes:
    is_packed = answer.headers.get("Content-Encoding", "").lower() in ("gzip", "x-gzip")
    unpack = zlib.decompressobj(wbits=31) if is_packed else None
    parts: list[bytes] = []
    size = 0
    while chunk := answer.read1(CHUNK):
        if time.monotonic() > deadline:
            raise InputError(url, f"longer than {limits.total_s:g} s", "save it and view the file")
        if unpack is not None:
            chunk = unpack.decompress(chunk, limits.size_bytes + 1 - size)
        parts.append(chunk)
        size += len(chunk)
        if size > limits.size_bytes:
            raise InputError(url, f"over {limits.size_bytes:,} bytes", "view a smaller page")
    return b"".join(parts)


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def __init__(self, *, may_be_private: bool):
        self.may_be_private = may_be_private

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The next request, or an error for a target that a page must not choose."""
        _check_scheme(newurl)
        if not self.may_be_private and is_private(newurl):
            raise InputError(newurl, "a redirect to a private address", "ask for it by itself")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
