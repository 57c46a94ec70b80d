"""The packed training batch that every loss takes.

Suffix T: tokens of all rows, laid end to end.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from nautiloid.core.types import MediaPart


@dataclass(frozen=True, kw_only=True)
class TopK:
    """A teacher's best tokens: ids and log probabilities [T, K]."""

    ids_TK: Tensor
    logprobs_TK: Tensor


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """A teacher's final hidden states [T, D], to be multiplied with its head in chunks."""

    hidden_TD: Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Packed sequences, already shifted: `targets_T[t]` is the token after `tokens_T[t]`.

    Args:
        tokens_T: int64 input ids.
        targets_T: int64 ids to predict; the last position of a sequence has its real next token.
        weight_T: float32 loss weight of each target; 0 where nothing is trained.
        positions_T: int64 position inside the sequence.
        lengths: Length of each packed sequence (states and attention never cross them).
        row_lengths: Length of each packing row, the sequence of the balance loss.
        sample_T: int32 index of the sample inside this batch, -1 for padding.
        media: References of all samples, in order.
        is_padded: Whether some tokens are padding; found out on the host before a copy to a GPU.
    """

    tokens_T: Tensor
    targets_T: Tensor
    weight_T: Tensor
    positions_T: Tensor
    lengths: tuple[int, ...]
    row_lengths: tuple[int, ...]
    sample_T: Tensor
    media: tuple[MediaPart, ...] = ()
    advantages_T: Tensor | None = None
    sampler_logprobs_T: Tensor | None = None
    reference_logprobs_T: Tensor | None = None
    versions_T: Tensor | None = None
    routes: tuple[Tensor, ...] | None = None
    teacher: TopK | Hidden | None = None
    is_padded: bool | None = None

    def __post_init__(self) -> None:
        t = self.tokens_T.numel()
        assert sum(self.lengths) == t, (sum(self.lengths), t)
        assert sum(self.row_lengths) == t, (sum(self.row_lengths), t)

    @property
    def cu_seqlens(self) -> Tensor:
        """int32 [S+1] starts of the packed sequences and the end."""
        return _starts(self.lengths, self.tokens_T.device)

    @property
    def row_starts(self) -> Tensor:
        """int32 [R+1] starts of the packing rows and the end."""
        return _starts(self.row_lengths, self.tokens_T.device)

    @property
    def has_padding(self) -> bool:
        """Whether some tokens are padding; on a GPU only a batch that never was elsewhere waits for it."""
        return bool((self.sample_T < 0).any()) if self.is_padded is None else self.is_padded

    def to(self, device: torch.device | str) -> Batch:
        """Copy every tensor to a device; the host does not wait for a GPU."""
        device = torch.device(device)
        moved: dict[str, Any] = {
            f.name: _moved(value, device)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        if self.routes is not None:
            moved["routes"] = tuple(_moved(route, device) for route in self.routes)
        return replace(self, is_padded=self.has_padding, **moved)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def _starts(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    starts = torch.zeros(len(lengths) + 1, dtype=torch.int32)
    starts[1:] = torch.tensor(lengths, dtype=torch.int32).cumsum(0)
    return starts.to(device)
