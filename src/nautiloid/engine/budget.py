"""How many slots, snapshots and pages fit under one cap of bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from nautiloid.core.errors import InputError
from nautiloid.model.blocks.config import StateSpec
from nautiloid.model.config import ModelConfig
from nautiloid.model.states import StateTypes, state_specs

USUAL_CONTEXT_TOKENS = 4096
# share of the free memory of a GPU that is used; the rest is for what other libraries allocate
FREE_SHARE = 0.9
# share of the room beside running requests that snapshots may take, the rest being pages
SNAPSHOT_SHARE = 8
TABLE_ENTRY_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a pool allocates; `num_pages` does not count the page that nobody gets.

    Args:
        slot_bytes: States of fixed size of one sequence.
        page_bytes: Keys and values of one page.
        table_bytes: Page table of one sequence on the device.
        reserved_bytes: Kept free under the cap for whatever else the engine allocates.
    """

    num_slots: int
    num_snapshots: int
    num_pages: int
    slot_bytes: int
    page_bytes: int
    table_bytes: int
    reserved_bytes: int

    def by_use(self) -> dict[str, int]:
        """Bytes of each use; padding rows have a slot and a page of their own."""
        return {
            "slots": (self.num_slots + 1) * self.slot_bytes,
            "snapshots": self.num_snapshots * self.slot_bytes,
            "pages": (self.num_pages + 1) * self.page_bytes,
            "page_tables": (self.num_slots + 1) * self.table_bytes,
            "reserved": self.reserved_bytes,
        }

    @property
    def nbytes(self) -> int:
        """Everything."""
        return sum(self.by_use().values())


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Bytes of one of each, and the pages of the longest sequence."""

    slot_bytes: int
    page_bytes: int
    table_bytes: int
    longest: int

    @classmethod
    def of(
        cls,
        config: ModelConfig,
        page_tokens: int,
        types: StateTypes,
        extra: Mapping[str, Mapping[str, StateSpec]] | None,
        *,
        has_tables: bool,
    ) -> Sizes:
        """Add up the states of a model."""
        slot = page = 0
        for states in state_specs(config, extra).values():
            for spec in states.values():
                size = math.prod(spec.shape) * types.of(spec).itemsize
                if spec.kind == "slot":
                    slot += size
                else:
                    page += size * page_tokens
        longest = math.ceil(config.max_position_embeddings / page_tokens) if page else 0
        table = TABLE_ENTRY_BYTES * (longest + 1) if has_tables and page else 0
        return cls(slot_bytes=slot, page_bytes=page, table_bytes=table, longest=longest)


def fit(
    sizes: Sizes,
    *,
    max_batch: int,
    page_tokens: int,
    memory_bytes: int | None,
    reserved_bytes: int = 0,
    has_prefixes: bool = False,
    snapshots: int | None = None,
) -> Budget:
    """Fill the cap: places for the batch first, then snapshots, pages with the rest.

    Args:
        memory_bytes: The cap; None makes room for `max_batch` sequences of usual length.
        has_prefixes: Whether states and pages of ended requests are kept.
        snapshots: How many states are kept; None is an eighth of the room, at most two a place.

    Raises:
        InputError: Not even one sequence fits under the cap.
    """
    slot, page, longest = sizes.slot_bytes, sizes.page_bytes, sizes.longest
    wanted = (snapshots or 2 * max_batch) if has_prefixes and slot else 0

    def budget(slots: int, kept: int, pages: int) -> Budget:
        return Budget(
            num_slots=slots,
            num_snapshots=kept,
            num_pages=pages,
            slot_bytes=slot,
            page_bytes=page,
            table_bytes=sizes.table_bytes,
            reserved_bytes=reserved_bytes,
        )

    if memory_bytes is None:
        usual = min(longest, USUAL_CONTEXT_TOKENS // page_tokens)
        return budget(max_batch, wanted, max_batch * usual)
    least = budget(1, wanted if snapshots else min(wanted, 1), min(longest, 1))
    if least.nbytes > memory_bytes:
        raise InputError("memory_bytes", memory_bytes, f"use at least {least.nbytes}")
    room = memory_bytes - budget(0, 0, 0).nbytes
    each = slot + page + sizes.table_bytes
    shared = least.num_snapshots * slot
    slots = max_batch if not each else min(max_batch, (room - shared) // each)
    room -= slots * each
    kept = least.num_snapshots
    if wanted and not snapshots:
        kept = min(wanted, max(1, room // SNAPSHOT_SHARE // slot))
    room -= kept * slot
    pages = 0
    if page:
        # beyond this nothing could ever use them
        most = (slots + (max(kept, max_batch) if has_prefixes else 0)) * longest
        pages = min(slots + room // page, most)
    return budget(slots, kept, pages)


def cap_of(free_bytes: int) -> int:
    """The cap on a GPU when none is given: what is free, less a tenth."""
    return int(free_bytes * FREE_SHARE)


def activation_bytes(config: ModelConfig, *, tokens: int, rows: int, itemsize: int) -> int:
    """Generous bytes of one forward beside weights and states.

    Args:
        tokens: Most tokens of one forward.
        rows: Most rows of logits.
        itemsize: Of the weights.
    """
    widest = 0
    for block in config.layers():
        active = sum(
            spec.active * math.prod(spec.shape[:-1])
            for spec in block.tensors(config.hidden_size).values()
            if len(spec.shape) > 1
        )
        widest = max(widest, math.ceil(active))
    # inputs and outputs of the widest layer, and copies in the order of experts
    layer = tokens * (4 * widest + 8 * config.hidden_size) * itemsize
    logits = 4 * rows * config.vocab_size * 4
    return layer + logits
