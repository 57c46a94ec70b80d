"""Asks an endpoint to clean texts: in pieces, at once, patiently, and never twice for the same."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from nautiloid.core.errors import InputError, missing_extra
from nautiloid.core.files import write_json
from nautiloid.curate.clean.cache import Answer, Answers
from nautiloid.curate.clean.check import Problem, check
from nautiloid.curate.clean.chunks import Chunk, split
from nautiloid.curate.clean.http import Http
from nautiloid.curate.clean.prompt import VERSION, answer_text, messages
from nautiloid.curate.clean.rules import Rules

try:
    import httpx
except ModuleNotFoundError:
    raise missing_extra("httpx", "curate") from None

log = logging.getLogger("nautiloid.curate")

MAX_ANSWER_BYTES = 16 << 20
MAX_WAIT_S = 60.0
# Models that are asked for dollars often write other delimiters: that is mended, not refused.
_STANDARD = Rules(drops_furniture=False, max_repeats=0, drops_empty_headings=False)
_HOPELESS = {401: "the key was refused", 403: "access was refused", 404: "no such model or address"}


class _RefusedError(Exception):
    """One piece cannot be cleaned; others can."""

    def __init__(self, problem: Problem, tokens: tuple[int, int] = (0, 0)):
        super().__init__(problem.detail)
        self.problem = problem
        self.tokens = tokens


class _BusyError(Exception):
    """Worth another attempt."""

    def __init__(self, problem: Problem, wait_s: float | None = None, *, is_outage: bool = False):
        super().__init__(problem.detail)
        self.problem = problem
        self.wait_s = wait_s
        self.is_outage = is_outage


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A text after the model, or before it where the model failed.

    Args:
        text: What is to be used.
        problem: Why it is the text that was given; None for a cleaned one.
        chunks: Pieces that were sent.
        tokens_in: Of the prompts, as the endpoint counts them.
        tokens_out: Of the answers.
    """

    text: str
    problem: Problem | None
    chunks: int
    tokens_in: int
    tokens_out: int


class Endpoint:
    """An open connection. Threads share it; `clean_all` is the way in.

    Args:
        settings: Of the cleaner.
        transport: Replaces the network, for tests.
    """

    def __init__(self, settings: Http, transport: httpx.BaseTransport | None = None):
        self.settings = settings
        self.count = settings.counter()
        self.answers = Answers(Path(settings.cache))
        limits = httpx.Limits(max_connections=settings.concurrency)
        timeout = httpx.Timeout(settings.request_s, connect=min(settings.request_s, 30.0))
        self.client = httpx.Client(
            base_url=settings.base_url.rstrip("/") + "/",
            headers=settings.headers(),
            timeout=timeout,
            limits=limits,
            transport=transport,
        )
        self.pool = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="cleaner")
        self.stopping = threading.Event()

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopping.set()
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.client.close()
        self.answers.__exit__(None, None, None)

    def cost(self) -> dict[str, float]:
        """What was asked with this cache folder took, by other processes and in other runs too."""
        count, calls, tokens_in, tokens_out, seconds = self.answers.totals()
        return {
            "answers": count,
            "calls": calls,
            "tokens_in": tokens_in,
            "tokens_out": tokens_out,
            "seconds": round(seconds, 3),
            "price": round(self.settings.price.of(tokens_in, tokens_out), 6),
        }

    def clean(self, text: str) -> str:
        """The cleaned text, or the text itself where the answer broke a rule."""
        return self.clean_all((text,))[0].text

    def clean_all(self, texts: Sequence[str]) -> list[Cleaned]:
        """Clean several texts, all their pieces at once.

        Raises:
            InputError: The endpoint refuses the key or the model, or does not answer at all.
                Answers that came before are in the cache.
        """
        plans = [split(text, self.settings.chunk_tokens, self.count) for text in texts]
        futures: list[list[Future[Answer] | None]] = [
            [self.pool.submit(self.ask, chunk.text) if chunk.fits else None for chunk in plan]
            for plan in plans
        ]
        try:
            cleaned = [
                self._merge(text, plan, answers)
                for text, plan, answers in zip(texts, plans, futures, strict=True)
            ]
            # Every time: a worker process may be ended without a word.
            write_json(Path(self.settings.cache) / "cost.json", self.cost())
            return cleaned
        finally:
            for future in (future for plan in futures for future in plan if future is not None):
                future.cancel()  # after an error nobody waits for the rest

    def _merge(
        self, text: str, plan: Sequence[Chunk], futures: Sequence[Future[Answer] | None]
    ) -> Cleaned:
        problem: Problem | None = None
        parts: list[str] = []
        chunks = tokens_in = tokens_out = 0
        for chunk, future in zip(plan, futures, strict=True):
            new = chunk.text
            if future is not None:
                try:
                    answer = future.result()
                except _RefusedError as refused:
                    problem = problem or refused.problem
                    continue
                chunks += 1
                tokens_in += answer.tokens_in
                tokens_out += answer.tokens_out
                new = _STANDARD.clean(answer_text(answer.text, chunk.text))
                problem = problem or check(chunk.text, new, self.settings.bounds)
            if new:
                parts += (new, chunk.separator)
        cleaned = text if problem else "".join(parts[:-1])
        return Cleaned(cleaned, problem, chunks, tokens_in, tokens_out)

    def ask(self, text: str) -> Answer:
        """The answer to one piece, from the cache or from the endpoint."""
        key = self._key(text)
        known = self.answers.get(key)
        if known is not None:
            return known
        answer = self._ask_patiently(text)
        self.answers.put(key, answer)
        return answer

    def _key(self, text: str) -> bytes:
        settings = json.dumps(self.settings.settings, sort_keys=True)
        content = "\x00".join((VERSION, settings, text))
        return blake2b(content.encode("utf-8", "surrogatepass"), digest_size=20).digest()

    def _ask_patiently(self, text: str) -> Answer:
        start = time.monotonic()
        calls = 0

        def spent(tokens: tuple[int, int] = (0, 0)) -> Answer:
            return Answer("", *tokens, calls, time.monotonic() - start)

        while True:
            if self.stopping.is_set():
                raise InputError(self.settings.base_url, None, "the run is ending")
            calls += 1
            try:
                answer = self._ask_once(text)
            except _BusyError as busy:
                if calls >= self.settings.attempts:
                    self.answers.spend(spent())
                    if busy.is_outage:
                        remedy = "run the same command again to go on: no answer is paid for twice"
                        problem = f"{busy.problem.detail} ({calls} attempts)"
                        raise InputError(self.settings.base_url, problem, remedy) from None
                    raise _RefusedError(busy.problem) from None
                wait_s = min(self.settings.backoff_s * 2 ** (calls - 1), MAX_WAIT_S)
                if busy.wait_s is not None:
                    wait_s = min(max(busy.wait_s, wait_s), MAX_WAIT_S)
                log.debug("%s: attempt %d in %.1f s", busy.problem.detail, calls + 1, wait_s)
                self.stopping.wait(wait_s)
                continue
            except _RefusedError as refused:
                self.answers.spend(spent(refused.tokens))
                raise
            return replace(spent((answer.tokens_in, answer.tokens_out)), text=answer.text)

    def _ask_once(self, text: str) -> Answer:
        prompt = messages(text)
        used = sum(self.count(message["content"]) for message in prompt)
        # An answer is hardly longer than its page; notation may need more characters.
        room = min(self.settings.context_tokens - used, 2 * self.count(text) + 256)
        request = {**self.settings.settings, "messages": prompt, "max_tokens": max(room, 256)}
        status, headers, body = self._post(request)
        if status in _HOPELESS:
            raise InputError(self.settings.base_url, f"status {status}", _HOPELESS[status])
        if status == 429 or status >= 500:
            problem = Problem("endpoint", f"status {status}: {_first_line(body)}")
            raise _BusyError(problem, _retry_after(headers), is_outage=True)
        if status != 200:
            raise _RefusedError(Problem("refused", f"status {status}: {_first_line(body)}"))
        return _read_answer(body)

    def _post(self, request: dict[str, Any]) -> tuple[int, httpx.Headers, bytes]:
        """Status, headers and body, all within the time of one request."""
        deadline = time.monotonic() + self.settings.request_s
        body = bytearray()
        with (
            self._network(),
            self.client.stream("POST", "chat/completions", json=request) as response,
        ):
            for part in response.iter_bytes():
                body += part
                if len(body) > MAX_ANSWER_BYTES:
                    raise _BusyError(Problem("rubbish", f"more than {MAX_ANSWER_BYTES} bytes"))
                if time.monotonic() > deadline:
                    detail = f"no complete answer in {self.settings.request_s:g} s"
                    raise _BusyError(Problem("endpoint", detail), is_outage=True)
            return response.status_code, response.headers, bytes(body)

    @contextlib.contextmanager
    def _network(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException:
            detail = f"no answer in {self.settings.request_s:g} s"
            raise _BusyError(Problem("endpoint", detail), is_outage=True) from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            detail = f"{type(error).__name__}: {error}"
            raise _BusyError(Problem("endpoint", detail), is_outage=True) from None


def _read_answer(body: bytes) -> Answer:
    """The message in a chat completion."""
    try:
        data = json.loads(body)
        choice = data["choices"][0]
        text = choice["message"]["content"]
        finish = choice.get("finish_reason")
        usage = data.get("usage") or {}
        tokens = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        problem = Problem("rubbish", f"no chat completion: {_first_line(body)}")
        raise _BusyError(problem) from None
    if not isinstance(text, str) or not text.strip():
        raise _BusyError(Problem("rubbish", "an empty answer"))
    used, given = (value if isinstance(value, int) and value >= 0 else 0 for value in tokens)
    if finish == "length":
        problem = Problem("truncated", "the answer reached the limit of tokens")
        raise _RefusedError(problem, (used, given))
    return Answer(text.replace("\x00", ""), used, given)


def _first_line(body: bytes) -> str:
    return " ".join(body[:300].decode("utf-8", "replace").split())[:200]


def _retry_after(headers: httpx.Headers) -> float | None:
    value = cast(str, headers.get("retry-after", ""))
    return float(value) if value.isascii() and value.isdigit() else None
