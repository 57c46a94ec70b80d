"""Forwards whose bits depend on a sequence alone, whatever else runs beside it.

Kernels choose their tiles by the shape of their input, so that the same token gets other last bits in
another batch. Here every forward is of one sequence and of a fixed number of tokens, padded at the end:
the position of a token decides all shapes, and causality keeps the padding out of what comes before.
Trainer and engine share these functions, so their log probabilities are the same bits (design 9).

Suffixes: T tokens of all sequences laid end to end, P tokens of a piece, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from nautiloid.core.errors import InputError
from nautiloid.model.context import Context
from nautiloid.model.decoder import Decoder
from nautiloid.model.views import StateView
from nautiloid.ops.head import logprobs as head_logprobs

# tokens of a piece; short ones waste work on padding, long ones on running a piece again
PIECE = 64


@dataclass
class Carry:
    """States of one sequence between its pieces.

    Stands in for a `StateView`: a forward reads the states before it and leaves new tensors, through
    which gradients flow.

    Args:
        past_tokens: Tokens whose states are held, a multiple of the piece.
        slots: Fixed-size states [1, ...] by layer and name.
        pages: Keys and values [past_tokens, ...] by layer and name.
    """

    past_tokens: int = 0
    slots: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    pages: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    is_paged: bool = False
    is_step: bool = False
    first_key: int = 0

    @property
    def past(self) -> tuple[int]:
        """Tokens before this forward."""
        return (self.past_tokens,)

    @property
    def is_fresh(self) -> bool:
        """Whether the sequence has no past."""
        return self.past_tokens == 0

    def prepare(self, lengths: Sequence[int]) -> None:
        """Note how many tokens are new."""
        self.totals = [self.past_tokens + n for n in lengths]

    def read(self, layer: str, name: str) -> Tensor:
        """State [1, ...] before this forward."""
        return self.slots[layer, name]

    def initial(self, layer: str, name: str) -> Tensor | None:
        """Like `read`; None without a past."""
        return None if self.is_fresh else self.read(layer, name)

    def write(self, layer: str, name: str, value: Tensor) -> None:
        """Keep the state after this forward."""
        self.slots[layer, name] = value.contiguous()

    def append(self, layer: str, name: str, values: Tensor) -> None:
        """Keep the values [P, ...] of the new tokens behind those before."""
        before = self.pages.get((layer, name))
        self.pages[layer, name] = (
            values.contiguous() if before is None else torch.cat([before, values])
        )

    def sequence(self, layer: str, name: str, sequence: int) -> Tensor:
        """Values of all tokens so far."""
        assert sequence == 0
        return self.pages[layer, name]

    def fork(self) -> Carry:
        """The same states for a forward that is not to change these."""
        return replace(self, slots=dict(self.slots), pages=dict(self.pages))

    def detach(self) -> None:
        """Let go of how the states were computed."""
        for group in (self.slots, self.pages):
            group.update({key: tensor.detach() for key, tensor in group.items()})

    @classmethod
    def load(cls, view: StateView) -> Carry:
        """Copies of the states of the one sequence of a view."""
        view.prepare((0,))
        store, carry = view.store, cls(view.past[0])
        if carry.past_tokens:
            for layer, group in store.slots.items():
                for name in group:
                    carry.slots[layer, name] = view.read(layer, name).clone()
            for layer, group in store.pages.items():
                for name in group:
                    carry.pages[layer, name] = view.sequence(layer, name, 0).clone()
        return carry

    def save(self, view: StateView) -> None:
        """Write the states into the view's sequence, whose past ends where they were loaded."""
        start = view.past[0]
        view.prepare((self.past_tokens - start,))
        for (layer, name), tensor in self.slots.items():
            view.write(layer, name, tensor)
        for (layer, name), tensor in self.pages.items():
            view.append(layer, name, tensor[start:])


def piece(model: Decoder, ids: Sequence[int] | Tensor, carry: Carry) -> Tensor:
    """Hidden states [P, D] of up to `PIECE` tokens that follow those of `carry`.

    `carry` then holds the states after a whole piece; after a shorter one they are those of padding
    and of no use.
    """
    device, count = model.device, len(ids)
    if not 1 <= count <= PIECE or carry.past_tokens % PIECE:
        raise InputError("piece", f"{count} tokens after {carry.past_tokens}", f"use 1 to {PIECE}")
    tokens_P = torch.zeros(PIECE, dtype=torch.long, device=device)
    tokens_P[:count] = torch.as_tensor(ids, device=device)
    ctx = Context(
        lengths=(PIECE,),
        positions_T=torch.arange(carry.past_tokens, carry.past_tokens + PIECE, device=device),
        state=carry,  # type: ignore[arg-type]
        is_exact=True,
    )
    hidden_PD = model.hidden(tokens_P, ctx).hidden_TD
    carry.past_tokens += PIECE
    return hidden_PD


def logprobs(
    model: Decoder,
    tokens_T: Tensor,
    lengths: Sequence[int],
    *,
    temperature: float = 1.0,
) -> Tensor:
    """Log probability [T] of the token after each, 0 at the end of each sequence; differentiable.

    Args:
        tokens_T: Ids of all sequences laid end to end.
        lengths: Tokens of each.
        temperature: Divides the logits.

    Raises:
        InputError: Lengths do not add up.
    """
    if sum(lengths) != tokens_T.shape[0]:
        raise InputError("lengths", sum(lengths), f"must add up to {tokens_T.shape[0]} tokens")
    is_trained = torch.is_grad_enabled()
    found: list[Tensor] = []
    for ids in tokens_T.split(list(lengths)):
        carry, rows = Carry(), list[Tensor]()
        for part in ids.split(PIECE):
            start = carry.past_tokens
            with plain_mode():
                hidden_PD = piece(model, part, carry)
                targets_P = _next(ids, start)
                row = target_logprobs(model, hidden_PD, targets_P, temperature)
            if not is_trained:
                carry.detach()
                row = row.detach()
            rows.append(row[: len(part)])
        is_last = torch.arange(len(ids), device=ids.device) == len(ids) - 1
        found.append(torch.cat(rows).masked_fill(is_last, 0))
    return torch.cat(found)


def target_logprobs(
    model: Decoder, hidden_PD: Tensor, targets_P: Tensor, temperature: float
) -> Tensor:
    """Log probability [P] of one target a row of a piece."""
    logprob_P, _ = head_logprobs(hidden_PD, model.head_weight, targets_P, temperature)
    return logprob_P


def plain_mode() -> torch.enable_grad:
    """Operators choose variants by whether a gradient may be asked: always as in training."""
    return torch.enable_grad()


def _next(ids: Tensor, start: int) -> Tensor:
    """Targets of a piece, padded with 0."""
    targets_P = ids.new_zeros(PIECE)
    after = ids[start + 1 : start + 1 + PIECE]
    targets_P[: len(after)] = after
    return targets_P
