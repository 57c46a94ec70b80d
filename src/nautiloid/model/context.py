"""What one forward needs beside the tokens, and what it gives back.

Suffixes: T tokens of all sequences laid end to end, D hidden size, K experts a token, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from nautiloid.model.views import StateView


@dataclass
class Context:
    """Packing, decoding state, expert routes and balance statistics of one forward.

    Args:
        lengths: Tokens of each packed sequence in this forward, on the host.
        positions_T: int64 position of each token in its sequence (past tokens included).
        row_lengths: Tokens of each packing row, the sequence of the balance loss; `lengths` if None.
        valid_T: False for padding; None when every token counts.
        state: Slots and pages, written in place; None in training.
        replay: Expert choices int16 [T, K] per MoE layer to use instead of the router's top-k.
        collect_routes: Return the choices in `Output.routes`.
        collect_aux: Return balance loss and expert counts in `Output.aux`.
        is_exact: Operators whose shapes would follow the tokens' values take fixed shapes (`exact`).
    """

    lengths: tuple[int, ...]
    positions_T: Tensor
    row_lengths: tuple[int, ...] | None = None
    valid_T: Tensor | None = None
    state: StateView | None = None
    replay: Sequence[Tensor] | None = None
    collect_routes: bool = False
    collect_aux: bool = False
    is_exact: bool = False
    routes: list[Tensor] = field(default_factory=list)
    balance: list[Tensor] = field(default_factory=list)
    counts: list[Tensor] = field(default_factory=list)
    moe_index: int = 0

    @classmethod
    def packed(
        cls,
        lengths: Sequence[int],
        device: torch.device | str = "cpu",
        **options: object,
    ) -> Context:
        """Whole sequences laid end to end, positions from 0."""
        positions_T = torch.cat([torch.arange(n) for n in lengths]).to(device)
        return cls(tuple(lengths), positions_T, **options)  # type: ignore[arg-type]

    @cached_property
    def cu_seqlens(self) -> Tensor:
        """int32 [S+1]."""
        starts = torch.zeros(len(self.lengths) + 1, dtype=torch.int32)
        starts[1:] = torch.tensor(self.lengths, dtype=torch.int32).cumsum(0)
        return starts.to(self.positions_T.device)

    @cached_property
    def is_uniform(self) -> bool:
        """Whether all sequences have the same length, so that [T] is a view of [S, L]."""
        return len(set(self.lengths)) == 1


@dataclass(frozen=True)
class Aux:
    """Balance statistics of the MoE layers, in order (trunk first, then MTP).

    Args:
        balance_loss: Sum over layers of the sequence balance loss with coefficient 1.
        counts: int64 [E] tokens a layer by the biased choice, which the bias update uses.
    """

    balance_loss: Tensor
    counts: tuple[Tensor, ...]


@dataclass(frozen=True)
class Output:
    """Hidden states after the final norm; losses and samplers apply the head themselves.

    Args:
        hidden_TD: Input of the head.
        mtp: Hidden states of each MTP depth, in order.
        routes: int16 [T, K] per MoE layer when asked for.
        aux: Balance statistics when asked for.
    """

    hidden_TD: Tensor
    mtp: tuple[Tensor, ...] = ()
    routes: tuple[Tensor, ...] = ()
    aux: Aux | None = None
