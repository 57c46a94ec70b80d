"""The types that cross modules: messages, samples, requests, rollouts, and protocols of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from nautiloid.core.errors import InputError
from nautiloid.core.sampling import SamplingParams

Role = Literal["system", "user", "assistant", "tool"]
ThinkingMode = Literal["on", "off", "budget"]
FinishReason = Literal["stop", "length", "abort", "error"]


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text inside a message."""

    text: str
    kind: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class MediaPart:
    """A reference to an image, audio or video file inside a message."""

    kind: Literal["image", "audio", "video"]
    ref: str


ContentPart = TextPart | MediaPart


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool by the assistant; `arguments` are decoded JSON values."""

    name: str
    arguments: Mapping[str, Any]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Args:
        role: Who speaks.
        content: Text, or parts when media are present.
        reasoning: What the assistant thought before `content`; None when it did not think.
        tool_calls: Calls the assistant makes after `content`.
        name: Name of the tool that answers (role `tool`).
        trains: Whether the tokens of this message are targets; None means assistant turns are.
    """

    role: Role
    content: str | tuple[ContentPart, ...] = ""
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    name: str | None = None
    trains: bool | None = None

    @property
    def text(self) -> str:
        """The text of the content, media left out.

        >>> Message("user", (TextPart("a"), MediaPart("image", "x.png"), TextPart("b"))).text
        'ab'
        """
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def media(self) -> tuple[MediaPart, ...]:
        """The media parts of the content."""
        if isinstance(self.content, str):
            return ()
        return tuple(part for part in self.content if isinstance(part, MediaPart))


@dataclass(frozen=True, slots=True)
class Document:
    """A piece of text on its way through curation."""

    id: str
    text: str
    media: tuple[MediaPart, ...] = ()
    licence: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Sample:
    """One piece of training data: exactly one of `text`, `messages` and `tokens` is given.

    Args:
        id: Unique inside its source.
        source: Name of the source it came from.
        text: Plain text; every token is a target.
        messages: A conversation, rendered by the grammar of the tokenizer folder.
        tokens: Ready token ids; `trains` marks the targets among them (all when None).
        tools: Tool declarations (OpenAI function objects) shown to the model.
        mode: Thinking mode of a conversation: with reasoning, without, or with a truncated one.
        budget_tokens: Length of the reasoning budget named in the prompt (mode `budget`).
        weight: Factor on the loss of its tokens.
    """

    id: str
    source: str
    text: str | None = None
    messages: tuple[Message, ...] | None = None
    tokens: tuple[int, ...] | None = None
    trains: tuple[bool, ...] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    mode: ThinkingMode = "on"
    budget_tokens: int | None = None
    weight: float = 1.0
    licence: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        given = sum(part is not None for part in (self.text, self.messages, self.tokens))
        if given != 1:
            raise InputError(
                f"sample {self.id} of {self.source}", None, "give one of text, messages and tokens"
            )


@dataclass(frozen=True, slots=True)
class DraftCounts:
    """Tokens drafted and kept by speculative decoding, by their place behind the newest token."""

    drafted: tuple[int, ...]
    accepted: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What the engine returns for one prompt.

    `logprobs[i]` is the log probability of `ids[i]` under the distribution it was sampled from.
    `reasoning` and `content` split `text` by the grammar; `reasoning` is None when there was none.
    `forced` lists the indices of ids that were not sampled but put there to end the thinking span.
    `drafts` counts what speculative decoding guessed; None where nothing was.
    """

    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: FinishReason
    reasoning: str | None = None
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning_tokens: int = 0
    top_logprobs: tuple[Mapping[int, float], ...] = ()
    forced: tuple[int, ...] = ()
    version: int = 0
    drafts: DraftCounts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One exchange with a policy, token-exact; `forced` are indices of ids that were not sampled."""

    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    message: Message
    finish_reason: FinishReason
    forced: tuple[int, ...] = ()
    version: int = 0
    routes: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One attempt at a task: never text without the ids that produced it."""

    task_id: str
    environment: str
    turns: tuple[Turn, ...]
    rewards: Mapping[str, float]
    status: Literal["done", "truncated", "failed"] = "done"
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def reward(self) -> float:
        """The reward that training and benchmarks use."""
        return self.rewards["reward"]


class Policy(Protocol):
    """Anything that answers a conversation: the engine, a remote endpoint, a scripted oracle."""

    async def respond(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        thinking: bool = True,
        params: SamplingParams | None = None,
    ) -> Turn:
        """Return the assistant's next turn."""
        ...


class Scorer(Protocol):
    """Anything that rates texts: a linear model, a classifier in a child process, an endpoint."""

    def score(self, texts: Sequence[str]) -> list[float]:
        """Return one finite number a text, in order; a better text has a higher one."""
        ...


class Embedder(Protocol):
    """Anything that places texts in a space where near means alike."""

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector a text, in order, all of one width and of length 1."""
        ...


class Cleaner(Protocol):
    """Anything that takes the noise out of the text of a page."""

    def clean(self, text: str) -> str:
        """Return the text without what does not belong to it; empty when nothing does."""
        ...
