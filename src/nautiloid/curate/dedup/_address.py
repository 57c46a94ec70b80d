"""Addresses that name the same page, written the same way."""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

PORTS = {"http": 80, "https": 443}
TRACKING = frozenset(
    {"fbclid", "gclid", "dclid", "msclkid", "yclid", "mc_cid", "mc_eid", "igshid", "phpsessid", "jsessionid"}
)  # fmt: skip


def canonical(url: str) -> str:
    """The address without what rarely changes the page.

    Left out: http against https, `www.`, user names, default ports, fragments, slashes at the end, parameters
    of campaigns and sessions, the order of parameters. What is no address comes back as it is.

    >>> canonical("HTTP://www.Example.org:80/a/?b=2&utm_source=x&a=1#top")
    'example.org/a?a=1&b=2'
    """
    try:
        parts: SplitResult = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return url
    if not host:
        return url
    host = host.rstrip(".").removeprefix("www.")
    if port is not None and port != PORTS.get(parts.scheme):
        host = f"{host}:{port}"
    try:
        query = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=200)
    except ValueError:
        return url
    kept = sorted((k, v) for k, v in query if not _is_tracking(k.lower()))
    path = parts.path.split(";jsessionid=")[0].rstrip("/")
    return f"{host}{path}" + (f"?{urlencode(kept)}" if kept else "")


def _is_tracking(name: str) -> bool:
    return name in TRACKING or name.startswith("utm_")
