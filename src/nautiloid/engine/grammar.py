"""Answers of a given structure: JSON of a schema, a regular expression, a Lark grammar, a choice.

llguidance says which ids may come next; a mask of one bit an id travels to the device.

Suffixes: R constrained rows of the batch, W words of 32 bits, V vocabulary.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nautiloid.core.errors import InputError, missing_extra
from nautiloid.core.sampling import Structure
from nautiloid.data.tokenizer import Tokenizer

COMPILE_SECONDS = 5.0
MOST_CHARACTERS = 262_144
MOST_KEPT = 64
# without a bound a model may write white space for ever
WHITESPACE = r"[ \n\r\t]{0,24}"


class GrammarState:
    """Where one completion stands in its structure.

    Args:
        matcher: The `LLMatcher`, at the beginning.
        grammars: Where it was compiled.
    """

    def __init__(self, matcher: Any, grammars: Grammars):
        self.matcher = matcher
        self.grammars = grammars

    def accept(self, token_id: int) -> None:
        """Take the next token of the answer; a stop id ends it and is no part of it."""
        if token_id not in self.grammars.stop_ids:
            self.matcher.consume_token(token_id)

    def rollback(self, count: int) -> None:
        """Take back the newest `count` accepted tokens (drafts that were rejected)."""
        if count:
            self.matcher.rollback(count)

    @property
    def is_over(self) -> bool:
        """The answer is complete, nothing can be added and no stop id exists that could say so."""
        return not self.grammars.stop_ids and self.matcher.is_stopped()

    @property
    def error(self) -> str:
        """Why no mask can be made, such as a limit of the parser; empty while it can."""
        return _one_line(self.matcher.get_error()) if self.matcher.is_error() else ""


class Grammars:
    """Compiles structures for one model and its tokenizer, and makes the masks of a batch.

    Args:
        tokenizer: Spells the ids.
        vocab_size: Width of the logits; ids beyond the tokenizer are never allowed.
        stop_ids: Ids that end a complete answer.
        limit_s: Time that compiling one structure may take.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        vocab_size: int,
        stop_ids: frozenset[int],
        *,
        limit_s: float = COMPILE_SECONDS,
    ):
        try:
            import llguidance
        except ImportError:
            raise missing_extra("llguidance", "structured") from None
        self.library: Any = llguidance
        self.vocab_size = vocab_size
        self.stop_ids = frozenset(i for i in stop_ids if i < vocab_size)
        self.limit_s = limit_s
        spelling = _Spelling(tokenizer, vocab_size)
        self.spelling = llguidance.LLTokenizer(llguidance.TokenizerWrapper(spelling))
        self.executor: Any = llguidance.LLExecutor()
        self.num_words = -(-len(spelling.tokens) // 32)
        self.stops_W = self._words(self.stop_ids)
        self.compiled: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self.lock = threading.Lock()

    def state(self, kind: Structure, structure: Any) -> GrammarState:
        """The beginning of a structure; compiled ones are kept, so asking again is cheap.

        Raises:
            InputError: It is malformed, unsatisfiable, too large or takes too long to compile.
        """
        text = _text(kind, structure)
        if len(text) > MOST_CHARACTERS:
            what, remedy = f"{len(text)} characters", f"use at most {MOST_CHARACTERS}"
            raise InputError(f"sampling.{kind}", what, remedy)
        key = (kind, text)
        with self.lock:
            matcher = self.compiled.get(key)
            if matcher is not None:
                self.compiled.move_to_end(key)
        if matcher is None:
            matcher = self._compile(kind, text)
            with self.lock:
                self.compiled[key] = matcher
                while len(self.compiled) > MOST_KEPT:
                    self.compiled.popitem(last=False)
        return GrammarState(matcher.deep_copy(), self)

    def masks(self, states: Sequence[GrammarState], device: torch.device) -> Tensor:
        """Whether each id may come next, bool [R, V]; a state with an error allows nothing."""
        words_RW = torch.zeros(len(states), self.num_words, dtype=torch.int32)
        jobs = [(state.matcher, row) for row, state in enumerate(states) if not state.error]
        if jobs:
            self.executor.unsafe_compute_mask_ptr(
                jobs, words_RW.data_ptr(), self.num_words * 4, len(states)
            )
        for row, state in enumerate(states):
            if state.error:
                words_RW[row] = 0
            elif state.matcher.is_accepting():
                words_RW[row] |= self.stops_W
        if device.type == "cpu":
            octets = words_RW.numpy().view(np.uint8)
            bits = np.unpackbits(octets, axis=1, count=self.vocab_size, bitorder="little")
            return torch.from_numpy(bits.view(np.bool_))
        bits_32 = torch.arange(32, dtype=torch.int32, device=device)
        allowed = (words_RW.to(device)[:, :, None] >> bits_32) & 1
        return allowed.flatten(1)[:, : self.vocab_size].bool()

    def _words(self, ids: frozenset[int]) -> Tensor:
        bits = torch.zeros(self.num_words * 32, dtype=torch.int64)
        bits[list(ids)] = 1
        words = (bits.view(-1, 32) << torch.arange(32)).sum(1)
        return (words - (words >> 31 << 32)).to(torch.int32)

    def _compile(self, kind: Structure, text: str) -> Any:
        """Compile in a thread, since the library counts its work but not its time."""
        box: list[Any] = []

        def work() -> None:
            try:
                limits = self.library.LLParserLimits(verbose_errors=False)
                grammar = _MAKERS[kind](self.library.LLMatcher, text)
                matcher = self.library.LLMatcher(self.spelling, grammar, log_level=0, limits=limits)
                if not matcher.is_error():
                    matcher.compute_bitmask()  # here, where it may take long
                box.append(matcher)
            except Exception as error:
                box.append(error)

        thread = threading.Thread(target=work, name="compile a structure", daemon=True)
        thread.start()
        thread.join(self.limit_s)
        if not box:
            remedy = f"takes over {self.limit_s:g} s to compile; make it simpler"
            raise InputError(f"sampling.{kind}", text, remedy)
        found = box[0]
        message = str(found) if isinstance(found, Exception) else found.get_error()
        if message:
            raise InputError(f"sampling.{kind}", text, _one_line(message))
        return found


class _Spelling:
    """What `TokenizerWrapper` asks of a tokenizer.

    The library wants an id that ends an answer. It gets one beyond the model's, whose column of the
    mask is cut off, and the engine's stop ids are allowed instead.
    """

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, vocab_size: int):
        spelled = tokenizer.token_bytes()
        self.tokenizer = tokenizer
        self.tokens = [*spelled, *[b""] * (vocab_size - len(spelled)), b"<end>"]
        self.eos_token_id = vocab_size
        self.special_token_ids = [*sorted(tokenizer.specials.values()), vocab_size]

    def __call__(self, text: str) -> list[int]:
        if not isinstance(text, str):
            raise TypeError(text)
        return self.tokenizer.encode(text)


def _json_grammar(matcher: Any, text: str) -> str:
    return matcher.grammar_from_json_schema(text, defaults={"whitespace_pattern": WHITESPACE})


def _choice_grammar(matcher: Any, text: str) -> str:
    options = (json.dumps(option, ensure_ascii=False) for option in json.loads(text))
    return matcher.grammar_from_lark(f"start: {' | '.join(options)}")


_MAKERS: Mapping[Structure, Any] = {
    "json_schema": _json_grammar,
    "regex": lambda matcher, text: matcher.grammar_from_regex(text),
    "grammar": lambda matcher, text: matcher.grammar_from_lark(text),
    "choice": _choice_grammar,
}


def _text(kind: Structure, structure: Any) -> str:
    if isinstance(structure, str):
        return structure
    value = list(structure) if kind == "choice" else structure
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"sampling.{kind}", None, f"is not JSON: {error}") from None


def _one_line(message: str) -> str:
    """The message without the dump of the parser's state that follows it."""
    return " ".join(message.partition("<state>")[0].split())[:400]
