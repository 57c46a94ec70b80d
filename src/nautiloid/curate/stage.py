"""What a stage is: one document in, the document or the reason why it goes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

from nautiloid.core.config import Open
from nautiloid.core.registry import Registry
from nautiloid.core.types import Document
from nautiloid.curate.page import Page


@dataclass(frozen=True, slots=True)
class Dropped:
    """A document that goes no further.

    Args:
        reason: A short fixed word, counted in the report and the manifest.
        detail: The measured value against its bound, one line.
        document: What was dropped, kept as a sample for the report; None before there is text.
    """

    reason: str
    detail: str = ""
    document: Document | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Answer of a filter; `reason` and `detail` matter where `keep` is false."""

    keep: bool
    reason: str = ""
    detail: str = ""


KEEP = Verdict(True)


@dataclass(frozen=True, kw_only=True)
class Extractor(Open):
    """From a page to text. Subclasses live in `curate/extract/<name>.py` under `@extractor("<name>")`."""

    registry: ClassVar[Registry] = Registry("extractor", "nautiloid.curate.extract")

    def extract(self, page: Page) -> Document | Dropped:
        """Text of the page as Markdown with TeX formulas; meta and licence are carried over."""
        raise TypeError(f"{type(self).__name__} does not define extract")


@dataclass(frozen=True, kw_only=True)
class Stage(Open):
    """Works on one document at a time. Subclasses live in `curate/filters/<name>.py` under `@stage("<name>")`.

    A stage is a pure function of its settings and the document: the order of documents and the
    process it runs in must not matter. What is costly to load is loaded in `open`.
    """

    registry: ClassVar[Registry] = Registry("stage", "nautiloid.curate.filters")

    def open(self) -> AbstractContextManager[Any]:
        """Entered once a process; what it returns is handed to `apply` as `tools`."""
        return nullcontext()

    @property
    def batch_size(self) -> int:
        """Documents that `apply_batch` wants at once; above 1 for models and endpoints."""
        return 1

    @property
    def patience_s(self) -> float:
        """Seconds a document may take here beyond `Limits.page_s`, waiting for something else."""
        return 0.0

    def apply(self, document: Document, tools: Any) -> Document | Dropped:
        """The document, changed or not, or why it goes."""
        raise TypeError(f"{type(self).__name__} does not define apply")

    def apply_batch(
        self, documents: Sequence[Document], tools: Any
    ) -> Sequence[Document | Dropped]:
        """What `apply` gives for each document, in order; how they are batched must not matter."""
        return [self.apply(document, tools) for document in documents]


@dataclass(frozen=True, kw_only=True)
class Filter(Stage):
    """A stage that keeps or drops and changes nothing."""

    def keep(self, document: Document) -> Verdict:
        """Whether the document stays, with the reason where it does not."""
        raise TypeError(f"{type(self).__name__} does not define keep")

    def apply(self, document: Document, tools: Any) -> Document | Dropped:
        """The document or its verdict."""
        verdict = self.keep(document)
        if verdict.keep:
            return document
        return Dropped(verdict.reason, verdict.detail, document)


extractor = Extractor.registry
stage = Stage.registry
