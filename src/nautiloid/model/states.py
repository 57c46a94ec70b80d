"""Decoding states of many sequences: fixed-size slots and pages of tokens.

Suffix: P pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nautiloid.core.errors import InputError
from nautiloid.model.blocks.config import StateSpec
from nautiloid.model.config import ModelConfig
from nautiloid.model.views import StateView

Snapshot = dict[str, dict[str, Tensor]]


def state_specs(
    config: ModelConfig, extra: Mapping[str, Mapping[str, StateSpec]] | None = None
) -> dict[str, dict[str, StateSpec]]:
    """States by layer key (`layers.3`, `mtp.layers.0`) and name, of the layers that keep any.

    Args:
        extra: States beside those of the blocks, such as what a draft head keeps.
    """
    specs = {f"layers.{i}": block.states() for i, block in enumerate(config.layers())}
    if config.mtp:
        for i, letter in enumerate(config.mtp.pattern * config.mtp.num_nextn_predict_layers):
            specs[f"mtp.layers.{i}"] = config.blocks[letter].states()
    for layer, states in (extra or {}).items():
        specs[layer] = {**specs.get(layer, {}), **states}
    return {layer: states for layer, states in specs.items() if states}


@dataclass(frozen=True)
class StateTypes:
    """Dtypes of states.

    Args:
        model: Of states that follow the model.
        kv: Of keys and values; None is `model`.
        ssm: Of recurrent states; None is what the block declares.
    """

    model: torch.dtype = torch.float32
    kv: torch.dtype | None = None
    ssm: torch.dtype | None = None

    def of(self, spec: StateSpec) -> torch.dtype:
        """Dtype of one state; everything that is not an integer is float64 in a float64 model."""
        kind = self.model if spec.dtype == "model" else getattr(torch, spec.dtype)
        if not kind.is_floating_point:
            return kind
        if self.model == torch.float64:
            return torch.float64
        if spec.kind == "paged":
            return self.kv or kind
        return kind if spec.dtype == "model" else self.ssm or kind


class StateStore:
    """All states the process holds.

    The slots after the last sequence are the null slot, which padding rows of a batch use, and then
    those of snapshots. Page 0 is the null page.

    Args:
        config: The model.
        num_slots: Sequences that can be alive at once.
        num_pages: Pages shared by all of them.
        page_tokens: Tokens a page.
        device: Where the tensors live.
        dtype: Dtype of states that follow the model.
        kv_dtype: Dtype of keys and values; None is `dtype`.
        ssm_dtype: Dtype of the recurrent states; None is what the blocks declare.
        num_snapshots: Slots that hold copies.
        extra: States beside those of the blocks.

    Attributes:
        page_table: int32 [num_slots + 1, P] pages of each slot, kept where kernels find them; whoever
            hands out pages keeps it up to date.
        seed: int64 [1], random bits of rounded states; None where states are not rounded at random.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        num_slots: int,
        num_pages: int = 0,
        page_tokens: int = 64,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        kv_dtype: torch.dtype | None = None,
        ssm_dtype: torch.dtype | None = None,
        num_snapshots: int = 0,
        extra: Mapping[str, Mapping[str, StateSpec]] | None = None,
    ):
        if num_slots < 1:
            raise InputError("num_slots", num_slots, "use at least 1")
        self.num_slots = num_slots
        self.num_pages = num_pages
        self.page_tokens = page_tokens
        self.device = torch.device(device)
        self.specs = state_specs(config, extra)
        self.types = StateTypes(dtype, kv_dtype, ssm_dtype)
        self.slots: dict[str, dict[str, Tensor]] = {}
        self.pages: dict[str, dict[str, Tensor]] = {}
        rows = {"slot": num_slots + 1 + num_snapshots, "paged": num_pages * page_tokens}
        for layer, states in self.specs.items():
            for name, spec in states.items():
                kind = self.types.of(spec)
                tensor = torch.zeros(rows[spec.kind], *spec.shape, dtype=kind, device=device)
                group = self.slots if spec.kind == "slot" else self.pages
                group.setdefault(layer, {})[name] = tensor
        tensors = [t for group in self.slots.values() for t in group.values()]
        # those of one dtype are copied in few launches
        self._by_dtype = [[t for t in tensors if t.dtype == k] for k in {t.dtype for t in tensors}]
        width = -(-config.max_position_embeddings // page_tokens) + 1 if self.pages else 1
        self.page_table = torch.zeros(num_slots + 1, width, dtype=torch.int32, device=device)
        is_rounded = ssm_dtype is not None and ssm_dtype.itemsize == 2 and dtype != torch.float64
        self.seed = torch.zeros(1, dtype=torch.long, device=device) if is_rounded else None

    @property
    def null_slot(self) -> int:
        """The slot of padding rows."""
        return self.num_slots

    @property
    def nbytes(self) -> int:
        """Bytes of all states."""
        groups = (*self.slots.values(), *self.pages.values())
        return sum(t.nbytes for group in groups for t in group.values())

    def zero(self, slots: Sequence[int]) -> None:
        """Forget what the slots hold."""
        for tensors in self._by_dtype if slots else ():
            torch._foreach_zero_([t[slot] for t in tensors for slot in slots])

    def copy(self, source: int, target: int) -> None:
        """Copy what one slot holds to another."""
        for tensors in self._by_dtype:
            torch._foreach_copy_([t[target] for t in tensors], [t[source] for t in tensors])

    def snapshot(self, slot: int) -> Snapshot:
        """Copy of a slot's fixed-size states."""
        return {
            layer: {name: tensor[slot].clone() for name, tensor in group.items()}
            for layer, group in self.slots.items()
        }

    def restore(self, slot: int, snapshot: Snapshot) -> None:
        """Put a snapshot into a slot."""
        targets = [self.slots[layer][n][slot] for layer, group in snapshot.items() for n in group]
        if targets:
            sources = [t for group in snapshot.values() for t in group.values()]
            torch._foreach_copy_(targets, sources)

    def view(
        self, slots: Sequence[int], pages: Sequence[Sequence[int]], past: Sequence[int]
    ) -> StateView:
        """The states of the sequences of one forward.

        Args:
            slots: Slot of each sequence.
            pages: Pages of each sequence in order, enough for past and new tokens.
            past: Tokens of each sequence that are already cached.
        """
        return StateView(self, tuple(slots), tuple(tuple(p) for p in pages), tuple(past))
