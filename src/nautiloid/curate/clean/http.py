"""Cleaning by a language model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from nautiloid.core.errors import InputError
from nautiloid.curate.clean.check import Bounds
from nautiloid.curate.clean.chunks import Count, estimate_tokens


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a million tokens cost, in any currency."""

    input: float = 0.0
    output: float = 0.0

    def of(self, tokens_in: int, tokens_out: int) -> float:
        """Cost of tokens.

        >>> Price(input=1.0, output=4.0).of(2_000_000, 500_000)
        4.0
        """
        return (tokens_in * self.input + tokens_out * self.output) / 1e6


@dataclass(frozen=True, kw_only=True)
class Http:
    """A model that is asked over HTTP, and what is done with its answers.

    Sampling is that of Nemotron-CC-Math. Set `top_k` and `min_p` to null for an endpoint that
    refuses them. Each worker process asks on its own: the endpoint sees `concurrency` requests of
    each at once.

    Args:
        base_url: Up to and with `/v1`.
        model: Its name at the endpoint.
        key_env: Environment variable that holds the key; it is sent if it is set, stored never.
        chunk_tokens: Longest piece of a page.
        context_tokens: What the model takes, prompt and answer together.
        tokenizer: Folder or `tokenizer.json` to count with; without it tokens are estimated.
        concurrency: Requests at once.
        request_s: Seconds until an answer must be complete.
        attempts: Requests for one piece until it is given up.
        backoff_s: Seconds before the second attempt, doubled for each further one, at most 60.
        cache: Folder of answers.
        price: For the report of costs.
        bounds: How much the model may change.
        extra: Further fields of the request.
    """

    kind: Literal["http"] = "http"
    base_url: str = ""
    model: str = ""
    key_env: str = "OPENAI_API_KEY"
    temperature: float = 0.7
    top_p: float = 0.8
    top_k: int | None = 20
    min_p: float | None = 0.0
    seed: int | None = None
    chunk_tokens: int = 5_000
    context_tokens: int = 16_384
    tokenizer: str | None = None
    concurrency: int = 16
    request_s: float = 300.0
    attempts: int = 5
    backoff_s: float = 1.0
    cache: str = "runs/cleaning"
    price: Price = field(default_factory=Price)
    bounds: Bounds = field(default_factory=Bounds)
    extra: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            remedy = "give the address of an OpenAI-compatible endpoint, such as http://localhost:8000/v1"
            raise InputError("http.base_url", self.base_url or "missing", remedy)
        if not self.model:
            raise InputError("http.model", None, "name the model at the endpoint")
        for name in ("chunk_tokens", "concurrency", "attempts"):
            if getattr(self, name) < 1:
                raise InputError(f"http.{name}", getattr(self, name), "use at least 1")
        if not self.request_s > 0 or not self.backoff_s >= 0:
            raise InputError("http.request_s", self.request_s, "use seconds above 0")
        if self.context_tokens < 2 * self.chunk_tokens + 1_000:
            remedy = (
                "a prompt, a chunk and its answer must fit: use 2 * chunk_tokens + 1000 or more"
            )
            raise InputError("http.context_tokens", self.context_tokens, remedy)

    @property
    def settings(self) -> dict[str, Any]:
        """Fields of a request that decide its answer, without the messages."""
        chosen = {
            "model": self.model,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "seed": self.seed,
        }
        return {name: value for name, value in chosen.items() if value is not None} | self.extra

    def counter(self) -> Count:
        """What counts tokens.

        Raises:
            InputError: The tokenizer is missing or damaged.
        """
        if self.tokenizer is None:
            return estimate_tokens
        from tokenizers import Tokenizer

        path = Path(self.tokenizer)
        path = path / "tokenizer.json" if path.is_dir() else path
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for every damage
            raise InputError(str(path), None, f"cannot be read as a tokenizer: {error}") from None
        return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)

    def headers(self) -> dict[str, str]:
        """With the key, where the environment has one."""
        key = os.environ.get(self.key_env, "")
        if key and not (key.isascii() and key.isprintable()):
            raise InputError(self.key_env, "not printable ASCII", "set the variable again")
        return {"Authorization": f"Bearer {key}"} if key else {}

    @contextlib.contextmanager
    def open(self) -> Iterator[Any]:
        """Connect. Costs are reported in `cost.json` of the cache folder."""
        from nautiloid.curate.clean.endpoint import Endpoint

        with Endpoint(self) as endpoint:
            yield endpoint
