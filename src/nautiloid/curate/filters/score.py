"""Quality scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document, Scorer
from nautiloid.curate.filters._bounds import below
from nautiloid.curate.quality.annotators import Classifier
from nautiloid.curate.quality.heuristic import Heuristic
from nautiloid.curate.quality.linear import MAX_SCORE
from nautiloid.curate.quality.scorers import Linear
from nautiloid.curate.stage import Dropped, Stage, stage


@stage("score")
@dataclass(frozen=True, kw_only=True)
class Score(Stage):
    """Rates documents from 0 to 5: `meta["score"]`, and rounded `meta["int_score"]`.

    The text stays as it is; scorers look at windows of long documents. Without a model the scorer
    is a sum of rules. Reason: `low_score`.

    Args:
        scorer: Rules, a linear model of your own, or a Hugging Face classifier.
        min_score: Drop documents with a lower score; None keeps all.

    >>> stage = Score(min_score=0.5)
    >>> with stage.open() as scorer:
    ...     stage.apply(Document("1", "Home\\nAbout"), scorer).detail
    'score 0 < 0.5'
    """

    scorer: Heuristic | Linear | Classifier = field(default_factory=Heuristic)
    min_score: float | None = None

    def __post_init__(self) -> None:
        if self.min_score is not None and not 0 <= self.min_score <= MAX_SCORE:
            raise InputError("score.min_score", self.min_score, "use 0 to 5, or null")

    def open(self) -> AbstractContextManager[Any]:
        """Load the scorer."""
        return self.scorer.open()

    @property
    def batch_size(self) -> int:
        """As many as the scorer takes at once."""
        return getattr(self.scorer, "batch_size", 1)

    @property
    def patience_s(self) -> float:
        """A child process may take its time."""
        if not isinstance(self.scorer, Classifier):
            return 0.0
        return (self.scorer.restarts + 1) * (self.scorer.start_s + self.scorer.answer_s)

    def apply(self, document: Document, tools: Any) -> Document | Dropped:
        """The document with its score, or its score below the least."""
        return self.apply_batch((document,), tools)[0]

    def apply_batch(
        self, documents: Sequence[Document], tools: Any
    ) -> Sequence[Document | Dropped]:
        """One call of the scorer for all documents."""
        scorer: Scorer = tools
        scores = scorer.score([document.text for document in documents]) if documents else []
        pairs = zip(documents, scores, strict=True)
        return [self._rate(document, score) for document, score in pairs]

    def _rate(self, document: Document, score: float) -> Document | Dropped:
        if not math.isfinite(score):
            raise ValueError(f"the scorer gave {score} for {document.id}")
        score = min(max(score, 0.0), MAX_SCORE)
        meta = {**document.meta, "score": score, "int_score": math.floor(score + 0.5)}
        rated = replace(document, meta=meta)
        if self.min_score is not None and score < self.min_score:
            verdict = below("low_score", "score", score, self.min_score)
            return Dropped(verdict.reason, verdict.detail, rated)
        return rated
