"""How a completion is drawn: the settings of one request."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast

from nautiloid.core.errors import InputError

Structure = Literal["json_schema", "regex", "grammar", "choice"]
STRUCTURES: tuple[Structure, ...] = ("json_schema", "regex", "grammar", "choice")

MOST_COMPLETIONS = 16_384
MOST_LOGPROBS = 20
MOST_STOP_STRINGS = 16
MOST_STOP_CHARACTERS = 256
MOST_STOP_IDS = 128
MOST_BIASES = 1024
MOST_CHOICES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How a completion is drawn.

    The order is vLLM's: token mask of the structure, `min_tokens`, `logit_bias`, repetition, then
    frequency and presence penalty, temperature, `min_p`, `top_k`, `top_p`. Log probabilities are
    those of the distribution after all of it, which is the one that was sampled from; a greedy
    request has no temperature and no filters.

    Args:
        temperature: 0 is greedy.
        top_p: Keep the smallest set of tokens whose probability reaches this; 1 keeps all.
        top_k: Keep this many tokens; 0 keeps all.
        min_p: Keep tokens with at least this share of the best token's probability.
        presence_penalty: Taken from the logits of generated tokens, -2 to 2.
        frequency_penalty: The same for each time a token was generated.
        repetition_penalty: Divides positive and multiplies negative logits of tokens of the prompt
            and of generated ones; 1 changes nothing.
        logit_bias: Added to the logits of these ids, -100 to 100.
        max_tokens: Limit on generated tokens.
        min_tokens: No stop id and no stop string ends the completion before so many tokens.
        stop: Strings that end the completion; they are not part of the text.
        stop_token_ids: Ids that end the completion, beside those of the grammar.
        ignore_stop: Go on to `max_tokens` whatever comes (benchmarks).
        seed: Makes the completion independent of other requests; None draws one.
        n: Completions a prompt.
        logprobs: Number of alternatives whose log probability is returned; the sampled token's is always.
        raw_logprobs: Return the log probabilities of the model itself, before all of the above.
        thinking_budget_tokens: Close the thinking span after this many tokens; None is no limit.
        thinking_budget_cue: Tell the model its budget in the prompt.
        thinking_effort: Name of an effort level that the chat grammar has a cue for.
        json_schema: The answer is JSON of this schema, given as an object or as text.
        regex: The answer matches this regular expression as a whole.
        grammar: The answer belongs to this grammar in the Lark form of llguidance.
        choice: The answer is one of these texts.

    Raises:
        InputError: A value is out of range, or two settings exclude each other.

    >>> SamplingParams(temperature=0.7, regex="[0-9]+").structure
    ('regex', '[0-9]+')
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict[int, float])
    max_tokens: int = 256
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_stop: bool = False
    seed: int | None = None
    n: int = 1
    logprobs: int = 0
    raw_logprobs: bool = False
    thinking_budget_tokens: int | None = None
    thinking_budget_cue: bool = False
    thinking_effort: str | None = None
    json_schema: str | Mapping[str, Any] | None = None
    regex: str | None = None
    grammar: str | None = None
    choice: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            _check_kind(name, getattr(self, name), kind)
        for name, (least, most, remedy) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise InputError(f"sampling.{name}", value, remedy)
        self._check_stops()
        self._check_biases()
        self._check_structure()
        if self.thinking_budget_cue and self.thinking_budget_tokens is None:
            remedy = "goes with thinking_budget_tokens"
            raise InputError("sampling.thinking_budget_cue", True, remedy)

    @property
    def structure(self) -> tuple[Structure, Any] | None:
        """The kind of structure that the answer must have, and the structure."""
        for name in STRUCTURES:
            value = getattr(self, name)
            if value is not None and value != ():
                return name, value
        return None

    @property
    def has_penalties(self) -> bool:
        """Whether tokens seen before change the logits."""
        return (
            self.presence_penalty != 0
            or self.frequency_penalty != 0
            or self.repetition_penalty != 1
        )

    @property
    def has_filters(self) -> bool:
        """Whether unlikely tokens are left out."""
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0

    def _check_stops(self) -> None:
        _check_texts("stop", self.stop, MOST_STOP_STRINGS)
        for text in self.stop:
            if not text:
                remedy = "an empty stop string would end every completion"
                raise InputError("sampling.stop", "''", remedy)
            if len(text) > MOST_STOP_CHARACTERS:
                remedy = f"use at most {MOST_STOP_CHARACTERS} characters"
                raise InputError("sampling.stop", text, remedy)
        ids = _sequence("stop_token_ids", self.stop_token_ids, MOST_STOP_IDS)
        for token_id in ids:
            _check_kind("stop_token_ids", token_id, "integer")
        if self.ignore_stop and (self.stop or self.stop_token_ids):
            raise InputError("sampling.ignore_stop", True, "leave it out, or the stops")
        if self.min_tokens > self.max_tokens:
            remedy = f"use at most max_tokens, {self.max_tokens}"
            raise InputError("sampling.min_tokens", self.min_tokens, remedy)

    def _check_biases(self) -> None:
        biases = cast(Any, self.logit_bias)
        if not isinstance(biases, Mapping):
            raise InputError("sampling.logit_bias", repr(biases), "map token ids to numbers")
        if len(self.logit_bias) > MOST_BIASES:
            what = f"{len(self.logit_bias)} entries"
            raise InputError("sampling.logit_bias", what, f"use at most {MOST_BIASES}")
        for token_id, bias in self.logit_bias.items():
            _check_kind("logit_bias", token_id, "integer")
            where = f"logit_bias.{token_id}"
            _check_kind(where, bias, "number")
            if not -100 <= bias <= 100:
                raise InputError(f"sampling.{where}", bias, "use -100 to 100")

    def _check_structure(self) -> None:
        _check_texts("choice", self.choice, MOST_CHOICES)
        if "" in self.choice:
            raise InputError("sampling.choice", "''", "leave the empty text out")
        schema = cast(Any, self.json_schema)
        if schema is not None and not isinstance(schema, str | Mapping):
            raise InputError("sampling.json_schema", repr(schema), "give an object or its text")
        given = [name for name in STRUCTURES if getattr(self, name) not in (None, ())]
        if len(given) > 1:
            raise InputError(f"sampling.{given[1]}", None, f"give it or {given[0]}, not both")
        if given and self.min_tokens:
            remedy = "leave it out: the structure says when the answer may end"
            raise InputError("sampling.min_tokens", self.min_tokens, remedy)
        if given and self.ignore_stop:
            remedy = "leave it out: the structure says when the answer ends"
            raise InputError("sampling.ignore_stop", True, remedy)


_KINDS = {
    "temperature": "number",
    "top_p": "number",
    "top_k": "integer",
    "min_p": "number",
    "presence_penalty": "number",
    "frequency_penalty": "number",
    "repetition_penalty": "number",
    "max_tokens": "integer",
    "min_tokens": "integer",
    "ignore_stop": "true or false",
    "seed": "integer or None",
    "n": "integer",
    "logprobs": "integer",
    "raw_logprobs": "true or false",
    "thinking_budget_tokens": "integer or None",
    "thinking_budget_cue": "true or false",
    "thinking_effort": "text or None",
    "regex": "text or None",
    "grammar": "text or None",
}
_TYPES: dict[str, tuple[type, ...]] = {
    "number": (int, float),
    "integer": (int,),
    "text": (str,),
    "true or false": (bool,),
}
_TINY = math.ulp(0.0)
_RANGES: dict[str, tuple[float, float, str]] = {
    "temperature": (0, math.inf, "use 0 (greedy) or a positive number"),
    "top_p": (_TINY, 1, "use a number above 0 and at most 1"),
    "top_k": (0, math.inf, "use 0 (all) or a positive integer"),
    "min_p": (0, 1 - 2**-53, "use a number from 0 to below 1"),
    "presence_penalty": (-2, 2, "use -2 to 2"),
    "frequency_penalty": (-2, 2, "use -2 to 2"),
    "repetition_penalty": (_TINY, math.inf, "use a number above 0"),
    "max_tokens": (1, math.inf, "use at least 1"),
    "min_tokens": (0, math.inf, "use at least 0"),
    "n": (1, MOST_COMPLETIONS, f"use 1 to {MOST_COMPLETIONS}"),
    "logprobs": (0, MOST_LOGPROBS, f"use 0 to {MOST_LOGPROBS}"),
    "thinking_budget_tokens": (0, math.inf, "use None or at least 0"),
}


def _check_kind(name: str, value: Any, kind: str) -> None:
    is_optional = kind.endswith(" or None")
    if value is None and is_optional:
        return
    kind = kind.removesuffix(" or None")
    is_bool = isinstance(value, bool)
    if not isinstance(value, _TYPES[kind]) or (is_bool and kind != "true or false"):
        raise InputError(f"sampling.{name}", repr(value), f"expected {_article(kind)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"sampling.{name}", value, "use a finite number")


def _article(kind: str) -> str:
    return {"number": "a number", "integer": "an integer"}.get(kind, kind)


def _sequence(name: str, value: Any, most: int) -> Sequence[Any]:
    if not isinstance(value, tuple | list):
        raise InputError(f"sampling.{name}", repr(value), "give a list")
    items = cast(Sequence[Any], value)
    if len(items) > most:
        raise InputError(f"sampling.{name}", f"{len(items)} entries", f"use at most {most}")
    return items


def _check_texts(name: str, value: Any, most: int) -> None:
    for text in _sequence(name, value, most):
        if not isinstance(text, str):
            raise InputError(f"sampling.{name}", repr(text), "give a list of texts")


def settings(values: Mapping[str, Any], base: SamplingParams | None = None) -> SamplingParams:
    """Read settings from decoded JSON, over those of `base`; unknown names are refused.

    >>> settings({"temperature": 0, "logit_bias": {"7": -100}}).logit_bias
    {7: -100.0}
    """
    from nautiloid.core.config import from_json

    base = base or SamplingParams()
    values = {k: [v] if k == "stop" and isinstance(v, str) else v for k, v in values.items()}
    read = from_json(SamplingParams, values, "sampling")
    given = {f.name: getattr(base, f.name) for f in fields(SamplingParams)}
    return SamplingParams(**given | {name: getattr(read, name) for name in values})
