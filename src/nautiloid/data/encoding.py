"""Samples to token ids with loss weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nautiloid.core.errors import InputError
from nautiloid.core.types import MediaPart, Sample

if TYPE_CHECKING:
    from nautiloid.data.tokenizer import Tokenizer

log = logging.getLogger("nautiloid.data")

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """One sample as ids.

    Args:
        ids: int32 [n].
        weight: float32 [n], the loss weight of each id as a target; a number when all are equal.
        positions: Positions it takes in rows: inputs that have a next token, and the last id too
            where documents share a sequence.
        media: References, in order.
    """

    ids: Array
    weight: Array | float
    positions: int
    media: tuple[MediaPart, ...] = ()


class Encoder:
    """Turns samples into ids, a block at a time.

    Args:
        tokenizer: Vocabulary and chat grammar.
        add_bos: Open plain text with the beginning-of-sequence id, where the tokenizer has one.
        keeps_last: Count the last id of a sample as an input position.
        max_positions: Longest sample that fits a row.
        too_long: What happens to longer ones.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        add_bos: bool,
        keeps_last: bool,
        max_positions: int,
        too_long: Literal["split", "drop", "error"],
    ):
        self._tokenizer = tokenizer
        self._batch: Callable[[list[str]], Sequence[Sequence[int]]] | None = getattr(
            tokenizer, "encode_batch", None
        )
        bos = tokenizer.bos_id if add_bos else None
        self._head = [] if bos is None else [bos]
        self._tail = [tokenizer.eos_ids[0]]
        self._drops_last = not keeps_last
        self._max_positions = max_positions
        self._too_long = too_long
        self._has_warned = False

    def encode(
        self, samples: Sequence[Sample], executor: Executor | None = None, shares: int = 1
    ) -> list[Encoded | None]:
        """Encode samples in order; None stands for one that is dropped.

        Args:
            samples: A block.
            executor: Encodes parts of the block at the same time; the result does not depend on it.
            shares: Number of such parts.

        Raises:
            InputError: A sample does not fit a row and must, or holds ids outside the vocabulary.
        """
        if executor is None or shares < 2:
            return self._encode(samples)
        size = -(-len(samples) // shares) or 1
        shared = [samples[i : i + size] for i in range(0, len(samples), size)]
        return [item for part in executor.map(self._encode, shared) for item in part]

    def _encode(self, samples: Sequence[Sample]) -> list[Encoded | None]:
        texts = [s.text for s in samples if s.text is not None]
        ids = iter(self._batch(texts) if self._batch else map(self._tokenizer.encode, texts))
        return [self._finish(s, next(ids) if s.text is not None else None) for s in samples]

    def _finish(self, sample: Sample, text_ids: Sequence[int] | None) -> Encoded | None:
        weight: Array | float = sample.weight
        trains: Sequence[bool] | None = None
        media: tuple[MediaPart, ...] = ()
        if text_ids is not None:
            if not text_ids:
                return None
            ids = np.array([*self._head, *text_ids, *self._tail], dtype=np.int32)
        elif sample.messages is not None:
            rendered = self._tokenizer.renderer().render(
                sample.messages, sample.tools, mode=sample.mode, budget_tokens=sample.budget_tokens
            )
            ids = np.array(rendered.ids, dtype=np.int32)
            trains = rendered.trains
            media = tuple(part for message in sample.messages for part in message.media)
        else:
            ids = np.array(sample.tokens, dtype=np.int64)
            trains = sample.trains
            size = self._tokenizer.vocab_size
            if ids.size and (ids.min() < 0 or ids.max() >= size):
                raise InputError(
                    f"sample {sample.id} of {sample.source}",
                    f"ids {ids.min()} to {ids.max()}",
                    f"the tokenizer has {size} ids; use the one that made the data",
                )
            ids = ids.astype(np.int32)
        if trains is not None:
            weight = np.array(trains, dtype=np.float32) * np.float32(sample.weight)
        positions = ids.size - self._drops_last
        if positions < 1:
            return None
        if positions > self._max_positions and not self._may_exceed(sample, positions, bool(media)):
            return None
        return Encoded(ids, weight, positions, media)

    def _may_exceed(self, sample: Sample, positions: int, has_media: bool) -> bool:
        if self._too_long == "drop":
            if not self._has_warned:
                self._has_warned = True
                log.warning(
                    "dropping samples over %d tokens, the first is %s of %s with %d",
                    self._max_positions,
                    sample.id,
                    sample.source,
                    positions,
                )
            return False
        if self._too_long == "error" or has_media:  # media spans must stay whole
            choices = "drop" if has_media else "split or drop"
            raise InputError(
                f"sample {sample.id} of {sample.source}",
                f"{positions} tokens",
                f"over loader.row_tokens {self._max_positions}; raise it or set loader.too_long to {choices}",
            )
        return True
