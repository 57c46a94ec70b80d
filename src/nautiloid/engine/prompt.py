"""What callers may ask with - text, ids, messages - and the ids that it becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from nautiloid.core.errors import InputError
from nautiloid.core.types import Message, SamplingParams
from nautiloid.data.tokenizer import Tokenizer
from nautiloid.model.config import ModelConfig

Prompt: TypeAlias = str | Sequence[int] | Sequence[Message]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptIds:
    """Ids of a prompt; `thinking` says whether the completion starts inside a thinking span."""

    ids: tuple[int, ...]
    is_chat: bool
    thinking: bool


def encode_prompt(
    prompt: Prompt,
    config: ModelConfig,
    tokenizer: Tokenizer | None,
    *,
    thinking: bool,
    tools: Sequence[Mapping[str, Any]],
) -> PromptIds:
    """Turn a prompt into ids; messages go through the grammar, text and ids are taken as they are.

    Raises:
        InputError: The prompt is empty, needs a tokenizer that is not there, holds media or bad ids.
    """
    is_chat = not isinstance(prompt, str) and len(prompt) > 0 and isinstance(prompt[0], Message)
    if tokenizer is None and (is_chat or isinstance(prompt, str)):
        raise InputError("tokenizer", None, "the engine has none, so prompts must be token ids")
    if isinstance(prompt, str):
        assert tokenizer is not None
        ids = tokenizer.encode(prompt)
    elif is_chat:
        assert tokenizer is not None
        messages = [message for message in prompt if isinstance(message, Message)]
        if len(messages) != len(prompt):
            raise InputError("prompt", None, "mixes messages with something else")
        for message in messages:
            config.check_media(message.media)
        renderer = tokenizer.renderer()
        thinking = renderer.thinks(messages, thinking)
        ids = renderer.prompt(messages, tools, thinking=thinking)
    else:
        ids = []
        for token_id in prompt:
            if isinstance(token_id, bool) or not isinstance(token_id, int):
                raise InputError("prompt", repr(token_id), "give text, token ids or messages")
            if not 0 <= token_id < config.vocab_size:
                raise InputError("prompt", token_id, f"ids are 0 to {config.vocab_size - 1}")
            ids.append(token_id)
    if not ids:
        raise InputError("prompt", None, "is empty; give at least one token")
    if tools and not is_chat:
        raise InputError("tools", None, "need a prompt of messages")
    return PromptIds(ids=tuple(ids), is_chat=is_chat, thinking=is_chat and thinking)


def check_params(
    params: SamplingParams, prompt: PromptIds, config: ModelConfig, tokenizer: Tokenizer | None
) -> None:
    """Refuse settings that this prompt or model cannot honour.

    Raises:
        InputError: Names the setting.
    """
    budget = params.thinking_budget_tokens
    if budget is not None:
        if not prompt.is_chat or tokenizer is None:
            remedy = "needs a prompt of messages; text and ids have no thinking span"
            raise InputError("sampling.thinking_budget_tokens", budget, remedy)
        if prompt.thinking and not tokenizer.renderer().opens_reasoning:
            remedy = f"the {tokenizer.grammar} grammar lets the model choose whether to think; leave it out"
            raise InputError("sampling.thinking_budget_tokens", budget, remedy)
    if params.stop and tokenizer is None:
        raise InputError(
            "sampling.stop", params.stop[0], "the engine has no tokenizer; use stop_token_ids"
        )
    if params.logprobs > config.vocab_size:
        raise InputError(
            "sampling.logprobs", params.logprobs, f"the vocabulary has {config.vocab_size} ids"
        )
    if "" in params.stop:
        raise InputError("sampling.stop", "''", "an empty stop string would end every completion")
    for token_id in params.stop_token_ids:
        if not 0 <= token_id < config.vocab_size:
            raise InputError(
                "sampling.stop_token_ids", token_id, f"ids are 0 to {config.vocab_size - 1}"
            )
