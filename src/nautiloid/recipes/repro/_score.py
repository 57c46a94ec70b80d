"""Bits of held-out documents under a model, apart for formulas and for the rest.

Suffixes: T tokens of one forward, D hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any

from nautiloid.core.files import write_json
from nautiloid.data.sources.jsonl import Jsonl
from nautiloid.recipes.repro._arms import formula_spans
from nautiloid.train.hook import Hook, HookState, hook

if TYPE_CHECKING:
    from nautiloid.data.tokenizer import Tokenizer
    from nautiloid.model.decoder import Decoder

FORWARD_TOKENS = 8192


@hook("recipes.repro._score")
@dataclass(frozen=True, kw_only=True)
class ScoreHook(Hook):
    """Scores the final weights and writes `scores.json` into the run folder.

    The file holds, for every subject and document, `[bits, bytes, formula bits, formula bytes]`.

    Args:
        held_out: JSON lines of documents, by subject.
        window_tokens: Documents are cut into pieces of so many tokens, as in training.
    """

    held_out: Mapping[str, str]
    window_tokens: int

    def on_end(self, state: HookState) -> None:
        """Measure."""
        scores: dict[str, dict[str, list[float]]] = {}
        for subject, path in self.held_out.items():
            documents = {s.id: s.text or "" for s in Jsonl(paths=(path,)).read()}
            scores[subject] = score(state.model, state.tokenizer, documents, self.window_tokens)
        write_json(state.run.path / "scores.json", scores)
        per_byte = {name: bits_per_byte(documents.values()) for name, documents in scores.items()}
        state.run.metrics.write("held_out", state.step, per_byte)


def bits_per_byte(documents: Any) -> float:
    """Bits over bytes of rows of `scores.json`."""
    rows = list(documents)
    return sum(row[0] for row in rows) / sum(row[1] for row in rows)


@dataclass(frozen=True, slots=True)
class _Piece:
    document: str
    inputs: list[int]
    targets: list[int]
    sizes: list[int]
    in_formula: list[bool]


def score(
    model: Decoder, tokenizer: Tokenizer, documents: Mapping[str, str], window_tokens: int
) -> dict[str, list[float]]:
    """`[bits, bytes, formula bits, formula bytes]` of every document.

    The end of a document is not scored, so every bit belongs to a byte; a formula's bytes are those
    of the tokens that touch it, delimiters included.
    """
    import torch

    from nautiloid.model.context import Context
    from nautiloid.ops.head import logprobs

    was_training = model.training
    model.eval()
    device = model.head_weight.device
    totals = {id: [0.0, 0.0, 0.0, 0.0] for id in documents}
    with torch.no_grad():
        for group in _groups(_pieces(tokenizer, documents, window_tokens)):
            lengths = [len(piece.inputs) for piece in group]
            tokens_T = torch.tensor([i for piece in group for i in piece.inputs]).to(device)
            targets_T = torch.tensor([i for piece in group for i in piece.targets]).to(device)
            hidden_TD = model.hidden(tokens_T, Context.packed(lengths, device)).hidden_TD
            values = logprobs(hidden_TD, model.head_weight, targets_T)[0].double().tolist()
            start = 0
            for piece in group:
                bits = [-value / log(2) for value in values[start : start + len(piece.inputs)]]
                _add(totals[piece.document], bits, piece)
                start += len(piece.inputs)
    model.train(was_training)
    return totals


def _add(row: list[float], bits: Sequence[float], piece: _Piece) -> None:
    for bit, size, in_formula in zip(bits, piece.sizes, piece.in_formula, strict=True):
        row[0] += bit
        row[1] += size
        if in_formula:
            row[2] += bit
            row[3] += size


def _pieces(
    tokenizer: Tokenizer, documents: Mapping[str, str], window_tokens: int
) -> Iterator[_Piece]:
    byte_lengths = tokenizer.byte_lengths()
    first = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_ids[0]
    for id, text in documents.items():
        ids, offsets = tokenizer.encode_with_offsets(text)
        spans = formula_spans(text)
        marks: list[bool] = []
        at = 0
        for a, b in offsets:
            while at < len(spans) and spans[at][1] <= a:
                at += 1
            marks.append(at < len(spans) and spans[at][0] < b)
        sequence = [first, *ids]
        for start in range(0, len(ids), window_tokens):
            stop = min(start + window_tokens, len(ids))
            yield _Piece(
                id,
                sequence[start:stop],
                ids[start:stop],
                [byte_lengths[i] for i in ids[start:stop]],
                marks[start:stop],
            )


def _groups(pieces: Iterator[_Piece]) -> Iterator[list[_Piece]]:
    group: list[_Piece] = []
    for piece in pieces:
        group.append(piece)
        if sum(len(p.inputs) for p in group) >= FORWARD_TOKENS:
            yield group
            group = []
    if group:
        yield group
