"""From a prompt and its settings to a request that the scheduler can take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.core.types import SamplingParams
from nautiloid.engine.grammar import Grammars, GrammarState
from nautiloid.engine.output import Output
from nautiloid.engine.prompt import Prompt, check_params, encode_prompt
from nautiloid.engine.request import Request
from nautiloid.engine.speculation import Drafting, DraftTally, Speculation
from nautiloid.engine.thinking import ThinkingSpan

Tools = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller says of a request beside its sampling; `Engine.generate` explains each."""

    thinking: bool = True
    tools: Tools = ()
    priority: int = 0
    client: str = ""
    salt: str | None = ""


class Intake:
    """Checks prompts and settings, and gives each request its id and its seed.

    Args:
        stop_ids: Ids that end every completion; None takes those of grammar and model.
    """

    def __init__(
        self,
        output: Output,
        seed: Seed,
        stop_ids: Sequence[int] | None,
        speculation: Speculation | None,
    ):
        self.output, self.seed, self.speculation = output, seed, speculation
        self.config, self.tokenizer = output.config, output.tokenizer
        self.stop_ids = frozenset(self._usual_stop_ids() if stop_ids is None else stop_ids)
        self.grammars: Grammars | None = None  # made by the first request with a structure
        self.num_made = 0

    def request(
        self,
        prompt: Prompt,
        params: SamplingParams,
        index: int,
        options: Options,
        max_context_tokens: int,
    ) -> Request:
        """The request of completion `index` of a prompt.

        Raises:
            InputError: The prompt or a setting cannot be honoured.
        """
        encoded = encode_prompt(
            prompt,
            self.config,
            self.tokenizer,
            thinking=options.thinking,
            tools=options.tools,
            params=params,
        )
        check_params(params, encoded, self.config, self.tokenizer)
        room = max_context_tokens - len(encoded.ids)
        if room < 1:
            raise InputError(
                "prompt", f"{len(encoded.ids)} tokens", f"use fewer than {max_context_tokens}"
            )
        grammar = self._grammar(params)
        is_shaped = (
            grammar is not None
            or params.has_penalties
            or bool(params.logit_bias)
            or params.min_tokens > 0
        )
        stop_ids = self.stop_ids | frozenset(params.stop_token_ids)
        self.num_made += 1
        root = self.seed.child(self.num_made) if params.seed is None else Seed(params.seed)
        span, renderer = None, self.output.renderer
        if encoded.thinking and renderer is not None and renderer.opens_reasoning:
            span = ThinkingSpan(
                renderer.think_end_ids, params.thinking_budget_tokens, self.output.has_newline
            )
        return Request(
            id=self.num_made,
            prompt_ids=encoded.ids,
            params=params,
            seed=root.child(index).value,
            stop_ids=frozenset() if params.ignore_stop else stop_ids,
            max_tokens=min(params.max_tokens, room),
            is_chat=encoded.is_chat,
            thinking=encoded.thinking,
            tools=options.tools,
            text=self.output.text(params.stop) if params.stop else None,
            span=span,
            priority=options.priority,
            client=options.client,
            salt=options.salt,
            grammar=grammar,
            is_shaped=is_shaped,
            drafting=None if is_shaped else self._drafting(),
        )

    def single(
        self,
        prompt: Prompt,
        params: SamplingParams | None,
        options: Options,
        max_context_tokens: int,
    ) -> Request:
        """The only request of a prompt, for callers that take one completion."""
        params = params or SamplingParams()
        if params.n != 1:
            raise InputError("sampling.n", params.n, "submit and stream take one; use generate")
        return self.request(prompt, params, 0, options, max_context_tokens)

    def _drafting(self) -> Drafting | None:
        if self.speculation is None:
            return None
        return Drafting(DraftTally(self.speculation.num_tokens))

    def _grammar(self, params: SamplingParams) -> GrammarState | None:
        if params.structure is None:
            return None
        if self.grammars is None:
            assert self.tokenizer is not None
            self.grammars = Grammars(self.tokenizer, self.config.vocab_size, self.stop_ids)
        return self.grammars.state(*params.structure)

    def _usual_stop_ids(self) -> set[int]:
        ids = set(self.config.eos_ids)
        if self.tokenizer is not None and self.output.renderer is not None:
            ids |= {*self.tokenizer.eos_ids, *self.output.renderer.stop_ids}
        return ids
