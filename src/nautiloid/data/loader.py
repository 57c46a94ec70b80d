"""The loader: mixture -> tokens -> packed rows -> batches, from any position on.

Rows come in windows. A window is drawn from the mixture until it fills `window_rows` rows, packed
by best fit and shuffled; all of it is a function of the mixture's state at its start. So the
position is that small state and a row number, and resuming reads only the current window again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.data.encoding import Encoded, Encoder
from nautiloid.data.mixing import Mixture, mix, phase_ends
from nautiloid.data.prefetch import Prefetch
from nautiloid.data.source import Source
from nautiloid.data.stream import Stream
from nautiloid.data.window import Row, Window, make_batch, pack_rows

if TYPE_CHECKING:
    from nautiloid.data.batch import Batch
    from nautiloid.data.tokenizer import Tokenizer

PREFETCHED_WINDOWS = 2


@dataclass(frozen=True, kw_only=True)
class LoaderConfig:
    """How samples become batches.

    Args:
        row_tokens: Tokens of a packing row.
        rows_per_batch: Rows of a micro-batch on one rank.
        window_rows: Rows that are packed and shuffled together; memory grows with it, padding
            shrinks.
        boundary: `document` makes each document a sequence of its own (state and attention start
            anew); `row` makes the whole row one sequence, in which the last token of each document
            is an input without a trained target.
        too_long: What happens to a document longer than a row: cut into rows, left out, or an error.
        add_bos: Open plain text with the beginning-of-sequence id, where the tokenizer has one.
        workers: Threads that prepare the next windows; 0 prepares them when they are asked for.
            The batches do not depend on it.
    """

    row_tokens: int = 512
    rows_per_batch: int = 8
    window_rows: int = 128
    boundary: Literal["document", "row"] = "document"
    too_long: Literal["split", "drop", "error"] = "split"
    add_bos: bool = True
    workers: int = 1

    def __post_init__(self) -> None:
        for name in ("row_tokens", "rows_per_batch", "window_rows"):
            if getattr(self, name) < 1:
                raise InputError(f"loader.{name}", getattr(self, name), "use at least 1")
        if self.workers < 0:
            raise InputError("loader.workers", self.workers, "use 0 or more")

    @property
    def batch_tokens(self) -> int:
        """Tokens of a micro-batch on one rank, padding included."""
        return self.row_tokens * self.rows_per_batch


class Loader:
    """Iterates over micro-batches of `rows_per_batch` rows.

    A global micro-batch has `rows_per_batch * world_size` rows, of which each rank takes its slice;
    every rank prepares all rows, so the order does not depend on the number of ranks. When the data
    ends (parts with a number of epochs), the last micro-batch is filled up with rows of padding.

    Args:
        config: Sizes and rules.
        data: A mixture, or a source that is repeated without end.
        tokenizer: Vocabulary and chat grammar.
        seed: Decides shuffling.
        rank: Number of this process.
        world_size: Number of processes.
        total_tokens: Length of the run over all ranks, for phases that end at a share of it.

    Raises:
        InputError: The data is empty, unreadable or does not fit the settings.
    """

    def __init__(
        self,
        config: LoaderConfig,
        data: Mixture | Source,
        tokenizer: Tokenizer,
        seed: Seed,
        rank: int = 0,
        world_size: int = 1,
        *,
        total_tokens: int | None = None,
    ):
        assert 0 <= rank < world_size, (rank, world_size)
        mixture = mix(data) if isinstance(data, Source) else data
        phase_ends(mixture, total_tokens)
        self.config = config
        self._plan = _Plan(config, mixture, tokenizer, seed, total_tokens)
        self._rank = rank
        self._world_size = world_size
        self._pad_id = tokenizer.pad_id
        self._fingerprint = _fingerprint(config, mixture, tokenizer, seed, total_tokens)
        self._start: Mapping[str, Any] = {"window": 0, "rows": 0, "mixture": None}
        self._row = 0
        self._window: Window | None = None
        self._windows: Iterator[Window] | None = None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        try:
            rows = self._take(self.config.rows_per_batch * self._world_size)
        except Exception:
            self.close()  # a failed iterator would look like the end of the data to the next call
            raise
        if not rows:
            raise StopIteration
        first = self._rank * self.config.rows_per_batch
        own = rows[first : first + self.config.rows_per_batch]
        own += [()] * (self.config.rows_per_batch - len(own))
        return make_batch(
            own,
            self.config.row_tokens,
            is_joined=self.config.boundary == "row",
            pad_id=self._pad_id,
        )

    def _take(self, count: int) -> list[Row]:
        rows: list[Row] = []
        while len(rows) < count:
            if self._windows is None:
                self._windows = self._open()
            if self._window is None or self._row >= len(self._window.rows):
                row = 0 if self._window is not None else self._row
                window = next(self._windows, None)
                if window is None:
                    break
                self._window, self._start, self._row = window, window.start, row
            taken = self._window.rows[self._row : self._row + count - len(rows)]
            rows.extend(taken)
            self._row += len(taken)
        return rows

    def _open(self) -> Iterator[Window]:
        windows = self._plan.windows(self._start, self.config.workers)
        return Prefetch(windows, PREFETCHED_WINDOWS) if self.config.workers else windows

    def state_dict(self) -> dict[str, Any]:
        """The position before the next batch, as JSON values; the same on every rank."""
        return {"start": dict(self._start), "row": self._row, "fingerprint": self._fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a position; batch size per rank, ranks and workers may differ from those that saved it.

        Raises:
            InputError: The data, the tokenizer or the settings are not those of the position.
        """
        if state["fingerprint"] != self._fingerprint:
            raise InputError(
                "loader state",
                "made from other data or settings",
                "restore the data, tokenizer, seed and loader settings of the run, or start a new run",
            )
        self.close()
        self._start = dict(state["start"])
        self._row = state["row"]

    def close(self) -> None:
        """Stop preparing batches; iterating goes on from the current position."""
        if isinstance(self._windows, Prefetch):
            self._windows.close()
        self._windows = None
        self._window = None


@dataclass(frozen=True)
class _Plan:
    """Makes windows; apart from the loader, so that a prefetching thread does not keep that alive."""

    config: LoaderConfig
    mixture: Mixture
    tokenizer: Tokenizer
    seed: Seed
    total_tokens: int | None

    def windows(self, start: Mapping[str, Any], workers: int) -> Iterator[Window]:
        if workers < 2:
            yield from self._windows(start, None)
            return
        with ThreadPoolExecutor(workers, thread_name_prefix="nautiloid-encode") as executor:
            yield from self._windows(start, executor)

    def _windows(
        self, start: Mapping[str, Any], executor: ThreadPoolExecutor | None
    ) -> Iterator[Window]:
        config = self.config
        encoder = Encoder(
            self.tokenizer,
            add_bos=config.add_bos,
            keeps_last=config.boundary == "row",
            max_positions=config.row_tokens,
            too_long=config.too_long,
        )
        stream: Stream[Encoded] = Stream(
            self.mixture,
            lambda samples: encoder.encode(samples, executor, config.workers),
            self.seed.child("mixture"),
            total_tokens=self.total_tokens,
            state=start["mixture"],
        )
        index: int = start["window"]
        rows_before: int = start["rows"]
        while True:
            here = {"window": index, "rows": rows_before, "mixture": stream.state_dict()}
            items = self._draw(stream, rows_before * config.row_tokens)
            if not items:
                if index == 0:
                    raise InputError(
                        "data", "no usable sample", "check the sources and loader.row_tokens"
                    )
                return
            rows = pack_rows(items, config.row_tokens, self.seed.child("rows", index))
            yield Window(here, rows)
            index += 1
            rows_before += len(rows)

    def _draw(self, stream: Stream[Encoded], progress_tokens: int) -> list[Encoded]:
        wanted = self.config.window_rows * self.config.row_tokens
        items: list[Encoded] = []
        tokens = 0
        while tokens < wanted:
            item = stream.draw(progress_tokens + tokens)
            if item is None:
                break
            items.append(item)
            tokens += item.positions
        return items


def _fingerprint(
    config: LoaderConfig,
    mixture: Mixture,
    tokenizer: Tokenizer,
    seed: Seed,
    total_tokens: int | None,
) -> str:
    rules = [
        config.row_tokens,
        config.window_rows,
        config.boundary,
        config.too_long,
        config.add_bos,
    ]
    ends = phase_ends(mixture, total_tokens)[:-1]
    facts = [rules, mixture.fingerprint(), tokenizer.vocab_size, seed.value, ends]
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()
