"""Byte ranges of an archive, from a server or a folder, several at a time and in their order."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from nautiloid.core.errors import InputError, missing_extra
from nautiloid.curate.page import Fault

if TYPE_CHECKING:
    import httpx

LONGEST_WAIT_S = 60.0
PATIENCE = 5
AGAIN = frozenset((408, 425, 429, 500, 502, 503, 504))
"""Statuses that pass; others do not, and are not asked for again."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One record of the archive and where it lies."""

    url: str
    filename: str
    offset: int
    length: int
    crawl: str | None = None
    time: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where ranges come from.

    Args:
        base: Address or folder.
        attempts: Tries of a request.
        wait_s: Wait after the first one.
        timeout_s: Longest silence of a server.
        cache: Folder of what was fetched; None keeps nothing.
    """

    base: str
    attempts: int
    wait_s: float
    timeout_s: float
    cache: str | None

    @property
    def is_remote(self) -> bool:
        """Whether it is reached over HTTP."""
        return self.base.startswith(("http://", "https://"))


class Fetcher(contextlib.AbstractContextManager["Fetcher"]):
    """Fetches a few ranges ahead; memory is bounded by twice the connections times a record."""

    def __init__(self, source: Source, connections: int):
        self.source = source
        self.connections = connections
        self.stop = threading.Event()
        self.client = _client(source, connections) if source.is_remote else None
        if not source.is_remote and not os.path.isdir(source.base):
            raise InputError("reader.base", source.base, "use an address or a folder that is there")
        self.pool = ThreadPoolExecutor(connections)

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.pool.shutdown(wait=True, cancel_futures=True)
        if self.client is not None:
            self.client.close()

    def fetch(
        self, pieces: Sequence[Piece], max_bytes: int
    ) -> Iterator[tuple[Piece, bytes | Fault]]:
        """Contents in the order of the pieces; a fault for what cannot be had."""
        ahead: deque[tuple[Piece, Future[bytes | Fault]]] = deque()
        for piece in pieces:
            ahead.append((piece, self.pool.submit(self._content, piece, max_bytes)))
            if len(ahead) >= 2 * self.connections:
                first, future = ahead.popleft()
                yield first, future.result()
        for piece, future in ahead:
            yield piece, future.result()

    def _content(self, piece: Piece, max_bytes: int) -> bytes | Fault:
        place = f"{piece.filename}@{piece.offset}"
        if not is_safe(piece.filename) or piece.offset < 0:
            return Fault(place, "bad_place", "the index names a place outside the archive")
        if not 0 < piece.length <= max_bytes:
            return Fault(place, "too_large", f"{piece.length} bytes stored")
        cached = _cached(self.source.cache, piece)
        if cached is not None:
            with contextlib.suppress(OSError), open(cached, "rb") as file:
                content = file.read(piece.length + 1)
                if len(content) == piece.length:  # else it was cut when the machine stopped
                    return content
        content = self._local(piece, place) if self.client is None else self._remote(piece, place)
        if cached is not None and isinstance(content, bytes):
            _store(cached, content)
        return content

    def _local(self, piece: Piece, place: str) -> bytes | Fault:
        root = os.path.realpath(self.source.base)
        path = os.path.realpath(os.path.join(root, piece.filename))
        if os.path.commonpath((root, path)) != root:
            return Fault(place, "bad_place", "the index names a place outside the archive")
        try:
            with open(path, "rb") as file:
                file.seek(piece.offset)
                content = file.read(piece.length)
        except OSError as error:
            return Fault(place, "unreachable", error.strerror or str(error))
        if len(content) < piece.length:
            return Fault(place, "truncated", f"{len(content)} of {piece.length} bytes are there")
        return content

    def _remote(self, piece: Piece, place: str) -> bytes | Fault:
        assert self.client is not None
        import httpx

        url = f"{self.source.base.rstrip('/')}/{piece.filename}"
        last = piece.offset + piece.length - 1
        headers = {"Range": f"bytes={piece.offset}-{last}", "Accept-Encoding": "identity"}
        problem = ""
        for attempt in range(self.source.attempts):
            wait_s = self.source.wait_s * 2**attempt * (0.5 + random.random())
            try:
                with self.client.stream("GET", url, headers=headers) as response:
                    if response.status_code == 206:
                        content = _bounded(response, piece.length, self.source.timeout_s)
                        if len(content) == piece.length:
                            return content
                        problem = f"{len(content)} of {piece.length} bytes came"
                    elif response.status_code == 200:
                        return Fault(place, "unreachable", "the server does not give byte ranges")
                    elif response.status_code in AGAIN:
                        problem = f"status {response.status_code}"
                        wait_s = max(wait_s, _retry_after_s(response))
                    else:
                        return Fault(place, "unreachable", f"status {response.status_code}")
            except (httpx.TransportError, httpx.DecodingError) as error:
                problem = f"{type(error).__name__} {error}".strip()
            is_last = attempt == self.source.attempts - 1
            if is_last or self.stop.wait(min(wait_s, LONGEST_WAIT_S)):
                break
        detail = f"{problem} after {self.source.attempts} attempts"
        return Fault(place, "unreachable", detail[:200])


def is_safe(filename: str) -> bool:
    """Whether a name stays inside the folder it is joined to.

    >>> is_safe("crawl-data/a.warc.gz"), is_safe("../a"), is_safe("/etc/passwd")
    (True, False, False)
    """
    parts = filename.replace("\\", "/").split("/")
    return (
        bool(filename)
        and filename.isprintable()
        and not {"", ".", ".."} & set(parts)
        and (":" not in parts[0])
    )


def _client(source: Source, connections: int) -> httpx.Client:
    try:
        import httpx
    except ModuleNotFoundError:
        raise missing_extra("httpx", "curate") from None
    return httpx.Client(
        timeout=source.timeout_s,
        limits=httpx.Limits(max_connections=connections),
        follow_redirects=True,
        headers={"User-Agent": "nautiloid"},
    )


def _bounded(response: httpx.Response, length: int, timeout_s: float) -> bytes:
    """The body, no longer than asked for and in a time that a slow line may take."""
    content = bytearray()
    deadline = time.monotonic() + PATIENCE * timeout_s
    for chunk in response.iter_raw():
        content += chunk
        if len(content) > length or time.monotonic() > deadline:
            break
    return bytes(content)


def _retry_after_s(response: httpx.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return min(float(value), LONGEST_WAIT_S) if value.isdecimal() else 0.0


def _cached(cache: str | None, piece: Piece) -> str | None:
    if cache is None:
        return None
    key = f"{piece.filename} {piece.offset} {piece.length}".encode()
    name = blake2b(key, digest_size=16).hexdigest()
    return os.path.join(cache, name[:2], f"{name}.warc.gz")


def _store(path: str, content: bytes) -> None:
    """Whole or absent for whoever reads it; a cut one is told by its length and fetched again."""
    temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        remedy = "make room or set reader.keeps_records to false"
        raise InputError(path, error.strerror or str(error), remedy) from error
