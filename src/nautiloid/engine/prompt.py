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
    params: SamplingParams | None = None,
) -> PromptIds:
    """Turn a prompt into ids; messages go through the grammar, text and ids are taken as they are.

    Args:
        params: Names the budget and effort that the prompt of messages tells the model.

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
        cues = {} if params is None else _cues(params, tokenizer)
        ids = renderer.prompt(messages, tools, thinking=thinking, **cues)
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


def _cues(params: SamplingParams, tokenizer: Tokenizer) -> dict[str, Any]:
    effort, efforts = params.thinking_effort, tokenizer.renderer().efforts
    if effort is not None and effort not in efforts:
        known = f"use one of {', '.join(efforts)}" if efforts else "leave it out"
        remedy = f"the {tokenizer.grammar} grammar has no cue for it; {known}"
        raise InputError("sampling.thinking_effort", effort, remedy)
    budget = params.thinking_budget_tokens if params.thinking_budget_cue else None
    return {"budget_tokens": budget, "effort": effort}


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
    if params.thinking_effort is not None and not prompt.is_chat:
        remedy = "needs a prompt of messages; text and ids are taken as they are"
        raise InputError("sampling.thinking_effort", params.thinking_effort, remedy)
    if params.structure is not None and tokenizer is None:
        name, structure = params.structure
        remedy = "the engine has no tokenizer, so it cannot read what the model writes"
        raise InputError(f"sampling.{name}", structure, remedy)
    if params.stop and tokenizer is None:
        raise InputError(
            "sampling.stop", params.stop[0], "the engine has no tokenizer; use stop_token_ids"
        )
    if params.logprobs > config.vocab_size:
        raise InputError(
            "sampling.logprobs", params.logprobs, f"the vocabulary has {config.vocab_size} ids"
        )
    for name in ("stop_token_ids", "logit_bias"):
        for token_id in getattr(params, name):
            if not 0 <= token_id < config.vocab_size:
                raise InputError(
                    f"sampling.{name}", token_id, f"ids are 0 to {config.vocab_size - 1}"
                )
