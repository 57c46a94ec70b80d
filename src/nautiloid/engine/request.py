"""One completion on its way through the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nautiloid.core.types import Completion, FinishReason, SamplingParams
from nautiloid.engine.cache import Lease
from nautiloid.engine.grammar import GrammarState
from nautiloid.engine.speculation import Drafting
from nautiloid.engine.text import TextStream
from nautiloid.engine.thinking import ThinkingSpan


@dataclass(eq=False, slots=True, kw_only=True)
class Request:
    """Settings and progress of one completion.

    Args:
        seed: Root of the request's random numbers; they depend on it and the position only.
        stop_ids: Ids that end the completion.
        max_tokens: Limit on generated tokens, room in the context included.
        is_chat: Whether the output is parsed by the grammar.
        thinking: Whether it starts inside a thinking span.
        text: Follows the text where stop strings or streaming need it.
        span: Follows the thinking span; None when there is none.
        grammar: Follows the structure of the answer; None when it is free.
        is_shaped: Whether settings change its logits before a token is drawn.
        is_bound: Whether the host has a part in every token of it.
        drafting: What speculation keeps of it; None when it decodes token by token.
        lease: Its place in the cache while it runs.
        num_cached: Tokens whose state is in the cache.
        in_flight: Tokens on their way from the device, which the host does not know yet.
        version: Weights that picked the first token.
        priority: Lower ones run first.
        client: Requests of the same priority take turns by client.
        salt: Only requests with the same one share cached prefixes; None shares with nobody.
        turn: When it first entered the cache, in order; None before.
    """

    id: int
    prompt_ids: tuple[int, ...]
    params: SamplingParams
    seed: int
    stop_ids: frozenset[int]
    max_tokens: int
    is_chat: bool = False
    thinking: bool = False
    tools: Sequence[Mapping[str, Any]] = ()
    text: TextStream | None = None
    span: ThinkingSpan | None = None
    grammar: GrammarState | None = None
    is_shaped: bool = False
    is_bound: bool = field(init=False)
    drafting: Drafting | None = None
    lease: Lease | None = None
    num_cached: int = 0
    in_flight: int = 0
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[Mapping[int, float]] = field(default_factory=list)
    forced: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    version: int = 0
    priority: int = 0
    client: str = ""
    salt: str | None = ""
    turn: int | None = None

    def __post_init__(self) -> None:
        params = self.params
        self.is_bound = bool(self.is_shaped or params.logprobs or params.raw_logprobs)

    @property
    def is_free(self) -> bool:
        """Whether the device can draw the token after those in flight alone."""
        if self.is_bound:
            return False
        span = self.span
        if span is None or span.budget_tokens is None or not span.is_open:
            return True
        return span.num_tokens + self.in_flight < span.budget_tokens

    @property
    def num_tokens(self) -> int:
        """Prompt and generated tokens, those in flight included."""
        return len(self.prompt_ids) + len(self.ids) + self.in_flight

    @property
    def most_tokens(self) -> int:
        """Tokens whose state the cache must be able to hold; the last one is never fed back."""
        return len(self.prompt_ids) + self.max_tokens - 1

    @property
    def newest(self) -> int:
        """The newest token that the host knows."""
        return self.ids[-1] if self.ids else self.prompt_ids[-1]

    def uncached(self, count: int) -> Sequence[int]:
        """The next `count` tokens to run through the model."""
        start, prompt = self.num_cached, len(self.prompt_ids)
        if start >= prompt:
            return self.ids[start - prompt : start - prompt + count]
        return [
            *self.prompt_ids[start : start + count],
            *self.ids[: max(0, start + count - prompt)],
        ]

    def append(self, token_id: int, logprob: float, top: Mapping[int, float] | None) -> None:
        """Take a generated token and find out whether it is the last one."""
        is_forced = bool(self.span and self.span.forced)
        follows_grammar = self.follows_grammar
        if is_forced:
            self.forced.append(len(self.ids))
        self.ids.append(token_id)
        self.logprobs.append(logprob)
        if top is not None:
            self.top_logprobs.append(top)
        if token_id in self.stop_ids and not is_forced:
            self.finish_reason = "stop"
            return
        if self.grammar is not None and follows_grammar:
            self.grammar.accept(token_id)
            if self.grammar.is_over:
                self.finish_reason = "stop"
        if self.text is not None:
            self.text.push(token_id, may_stop=len(self.ids) >= self.params.min_tokens)
            if self.text.is_stopped:
                self.finish_reason = "stop"
                return
        if self.span is not None:
            self.span.advance(self.ids)
        if len(self.ids) >= self.max_tokens and self.finish_reason is None:
            self.finish_reason = "length"

    @property
    def follows_grammar(self) -> bool:
        """Whether the next token belongs to an answer of a given structure."""
        return self.grammar is not None and not (self.span and self.span.is_open)

    @property
    def text_ids(self) -> list[int]:
        """Generated ids without the stop id."""
        if self.ids and self.finish_reason == "stop" and self.ids[-1] in self.stop_ids:
            return self.ids[:-1]
        return self.ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of a streamed completion; the pieces of each field joined give the whole.

    `completion` is the whole, parsed, and comes with the last piece; `reasoning_tokens` counts the
    thinking so far.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    reasoning: str
    content: str
    reasoning_tokens: int = 0
    completion: Completion | None = None
