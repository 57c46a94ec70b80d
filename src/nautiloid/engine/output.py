"""From generated ids to text, reasoning, content and tool calls."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from nautiloid.core.types import Completion
from nautiloid.data.tokenizer import Tokenizer
from nautiloid.engine.request import Request
from nautiloid.engine.text import TextStream, ThinkingSplit
from nautiloid.model.config import ModelConfig


class Output:
    """Reads what the model wrote; without a tokenizer all text is empty."""

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer | None):
        self.config = config
        self.tokenizer = tokenizer
        self.renderer = tokenizer.renderer() if tokenizer else None

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """UTF-8 bytes of each id of the model; rows beyond the tokenizer's stand for nothing."""
        spelled = self.tokenizer.token_bytes() if self.tokenizer else []
        return spelled + [b""] * (self.config.vocab_size - len(spelled))

    def text(self, stop: Sequence[str]) -> TextStream:
        """A fresh detokenizer."""
        return TextStream(self.token_bytes, stop)

    def split(self, request: Request) -> ThinkingSplit:
        """A fresh splitter for the text of a request."""
        is_open = self.renderer is not None and self.renderer.opens_reasoning
        return ThinkingSplit(thinking=request.thinking, is_open=is_open)

    def has_newline(self, token_id: int) -> bool:
        """Whether an id's text holds a newline."""
        return b"\n" in self.token_bytes[token_id]

    def completion(self, request: Request) -> Completion:
        """What an ended request returns."""
        assert request.finish_reason is not None
        stream = request.text
        if stream is None:
            stream = self.text(())
            for token_id in request.text_ids:
                stream.push(token_id)
        stream.close()
        reasoning, content, calls = None, stream.text, ()
        if request.is_chat:
            assert self.renderer is not None
            # ids tell a closing tag from its spelling, but know nothing of a stop string
            output = stream.text if stream.is_stopped else request.text_ids
            message = self.renderer.parse(output, thinking=request.thinking, tools=request.tools)
            reasoning, content, calls = message.reasoning, message.text, message.tool_calls
        return Completion(
            prompt_ids=request.prompt_ids,
            ids=tuple(request.ids),
            logprobs=tuple(request.logprobs),
            text=stream.text,
            finish_reason=request.finish_reason,
            reasoning=reasoning,
            content=content,
            tool_calls=calls,
            reasoning_tokens=request.span.num_tokens if request.span else 0,
            top_logprobs=tuple(request.top_logprobs),
            forced=tuple(request.forced),
            version=request.version,
            drafts=request.drafting.tally.counts if request.drafting else None,
        )
