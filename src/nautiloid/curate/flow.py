"""Items through steps one after another, with counts and times on the way."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.heartbeat import Heartbeat, Phase
from nautiloid.curate.page import Page
from nautiloid.curate.stage import Dropped, Extractor, Stage

log = logging.getLogger("nautiloid.curate")


@dataclass
class Tally:
    """What happened at one step; adds up over units.

    Args:
        seconds: Time in the step, summed over workers.
    """

    name: str
    kind: str
    documents_in: int = 0
    documents_out: int = 0
    changed: int = 0
    chars_in: int = 0
    chars_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter[str])
    seconds: float = 0.0

    def facts(self) -> dict[str, Any]:
        """As JSON values."""
        return {**vars(self), "dropped": dict(sorted(self.dropped.items()))}

    def add(self, facts: Mapping[str, Any]) -> None:
        """Add the counts of another unit."""
        for name in ("documents_in", "documents_out", "changed", "chars_in", "chars_out"):
            setattr(self, name, getattr(self, name) + facts[name])
        self.seconds += facts["seconds"]
        self.dropped.update(facts["dropped"])


@dataclass
class Step:
    """One thing that is done to every item.

    Args:
        apply: One item in, a document or why it goes.
        apply_batch: The same for several.
        batch_size: Items that `apply_batch` wants at once; 1 calls `apply`.
        patience_s: What an item may wait for something else, beyond its share of time.
    """

    tally: Tally
    apply: Callable[[Any], Document | Dropped]
    apply_batch: Callable[[Sequence[Any]], Sequence[Document | Dropped]] | None = None
    batch_size: int = 1
    patience_s: float = 0.0
    waiting: list[tuple[int, Any]] = field(default_factory=list[tuple[int, Any]])


def extract_step(extractor: Extractor) -> Step:
    """The step that turns pages into documents."""
    return Step(Tally(kind_of(extractor), "extract"), extractor.extract)


def stage_step(stage: Stage, name: str, kind: str, tools: Any) -> Step:
    """A stage as a step, with the tools that its `open` gave."""
    return Step(
        Tally(name, kind),
        lambda document: stage.apply(document, tools),
        lambda documents: stage.apply_batch(documents, tools),
        stage.batch_size,
        stage.patience_s,
    )


def kind_of(part: object) -> str:
    """The registered name of a part; the last word of it for one from outside."""
    return getattr(type(part), "__kind__", type(part).__name__).rpartition(".")[2]


def step_names(parts: Sequence[object], taken: Sequence[str] = ()) -> list[str]:
    """Registered names, told apart by a number where one comes twice."""
    counts = Counter(taken)
    names: list[str] = []
    for part in parts:
        kind = kind_of(part)
        counts[kind] += 1
        names.append(kind if counts[kind] == 1 else f"{kind}-{counts[kind]}")
    return names


class LateError(BaseException):
    """A page took too long; no stage means to catch this."""


class Flow:
    """Runs items through steps in their order.

    Args:
        steps: What is done.
        heartbeat: Told what is being done.
        sink: Called with ordinal and document for each that came through, in order.
        reject: Called with ordinal, stage, what was dropped, and the item as it came to the step.
        alone: Items that are never put into a batch with others.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        heartbeat: Heartbeat,
        sink: Callable[[int, Document], None],
        reject: Callable[[int, str, Dropped, Page | Document], None],
        alone: frozenset[int] = frozenset(),
    ):
        self.steps = steps
        self.heartbeat = heartbeat
        self.sink = sink
        self.reject = reject
        self.alone = alone
        self._is_applying = False

    def interrupt(self) -> None:
        """Give the page in work up if it is late; called by a signal handler, between two bytecodes.

        Raises:
            LateError: It is, and a step has it in its hands; caught where the step was called.
        """
        if self._is_applying and self.heartbeat.is_late:
            self._is_applying = False
            raise LateError

    def feed(self, ordinal: int, item: Page | Document, start: int = 0) -> None:
        """Take an item; it enters at the step `start`."""
        self.heartbeat.enter(Phase.PAGE, ordinal, id=item.id)
        self._at(start, ordinal, item)

    def finish(self) -> None:
        """Do the batches that are not full."""
        for index in range(len(self.steps)):
            self._batch(index)

    def skip(self, index: int, start: int, reason: str) -> None:
        """Count an item that is left out because it ended a worker at the step `index`."""
        for step in self.steps[start:index]:
            step.tally.documents_in += 1
            step.tally.documents_out += 1
        tally = self.steps[index].tally
        tally.documents_in += 1
        tally.dropped[reason] += 1

    def _at(self, index: int, ordinal: int, item: Page | Document) -> None:
        if index == len(self.steps):
            assert isinstance(item, Document)
            self.sink(ordinal, item)
            return
        step = self.steps[index]
        if step.batch_size == 1:
            self._single(index, ordinal, item)
            return
        if ordinal in self.alone:
            self._batch(index)  # what came before goes before
            self.heartbeat.enter(Phase.PAGE, ordinal, id=item.id)
            self._single(index, ordinal, item)
            return
        step.waiting.append((ordinal, item))
        if len(step.waiting) >= step.batch_size:
            self._batch(index)

    def _single(self, index: int, ordinal: int, item: Page | Document) -> None:
        step = self.steps[index]
        self.heartbeat.step(index, step.patience_s)
        began = time.perf_counter()
        result = self._safely(step, item)
        step.tally.seconds += time.perf_counter() - began
        self._settle(index, ordinal, item, result)

    def _batch(self, index: int) -> None:
        step = self.steps[index]
        waiting, step.waiting = step.waiting, []
        if not waiting:
            return
        assert step.apply_batch is not None
        first, last = waiting[0][0], waiting[-1][0]
        self.heartbeat.enter(Phase.PAGE, first, last, id=waiting[0][1].id)
        self.heartbeat.step(index, step.patience_s * len(waiting))
        items = [item for _, item in waiting]
        began = time.perf_counter()
        try:
            self._is_applying = True
            results = step.apply_batch(items)
            self._is_applying = False
        except InputError:
            raise
        except (Exception, LateError) as error:  # one of them is at fault: find out which
            self._is_applying = False
            log.debug("%s: batch of %d: %r", step.tally.name, len(items), error)
            results = []
            for ordinal, item in waiting:
                self.heartbeat.enter(Phase.PAGE, ordinal, id=item.id)
                self.heartbeat.step(index, step.patience_s)
                results.append(self._safely(step, item))
        step.tally.seconds += time.perf_counter() - began
        for (ordinal, item), result in zip(waiting, results, strict=True):
            self._settle(index, ordinal, item, result)

    def _safely(self, step: Step, item: Page | Document) -> Document | Dropped:
        """The step's answer; a page that no one foresaw is dropped and the rest goes on."""
        try:
            self._is_applying = True
            result = step.apply(item)
            self._is_applying = False
            return result
        except InputError:
            raise
        except LateError:
            return Dropped("timeout", "took too long")
        except MemoryError:
            self._is_applying = False
            return Dropped("memory", "out of memory")
        except Exception as error:
            self._is_applying = False
            log.debug("%s: %s", step.tally.name, item.id, exc_info=True)
            place = error.__traceback__
            while place is not None and place.tb_next is not None:
                place = place.tb_next
            line = (
                f" (line {place.tb_lineno} of {place.tb_frame.f_code.co_filename.rpartition('/')[2]})"
                if place
                else ""
            )
            return Dropped("error", f"{type(error).__name__}: {error}"[:300] + line)

    def _settle(
        self, index: int, ordinal: int, item: Page | Document, result: Document | Dropped
    ) -> None:
        tally = self.steps[index].tally
        tally.documents_in += 1
        if isinstance(item, Document):
            tally.chars_in += len(item.text)
        if isinstance(result, Dropped):
            tally.dropped[result.reason] += 1
            self.reject(ordinal, tally.name, result, item)
            return
        result = clean(result)
        tally.documents_out += 1
        tally.chars_out += len(result.text)
        if isinstance(item, Document) and result.text != item.text:
            tally.changed += 1
        self._at(index + 1, ordinal, result)


def clean(document: Document) -> Document:
    """The document without lone surrogates, which no file format holds."""
    text, id = valid(document.text), valid(document.id)
    if text is document.text and id is document.id:
        return document
    return Document(id, text, document.media, document.licence, document.meta)


def valid(text: str) -> str:
    """The text itself, or with replacements for what UTF-8 cannot encode."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text
