"""Language of a document."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from nautiloid.core.errors import InputError, missing_extra
from nautiloid.core.types import Document
from nautiloid.curate.filters._bounds import check_fraction
from nautiloid.curate.stage import Dropped, Stage, stage
from nautiloid.curate.text.prose import read_prose

_CODES = """
ace af am an ar ary arz as az ba bcl be bg bn br bs ca crh cs cy da de dz el en eo es et eu ext fa
fi fo fr fuv fy ga gcf gcr gd gl gom grc gu gug guw ha hbo he hi hr ht hu hy id ig is it ja jv ka
kab kik kk km kn ko ku ky la lb lg lij ln lo lt ltg lv mg mk ml mn mr ms mt my ne nl nn no nso oc
om or pa pcm pl ps pt qu ro ru rw sa sdh se si sk sl sn so sq sr st sv sw ta te tg th tk tl tr tt
ug uk ur uz uzs vec vi vo wa wuu xh yo yue zh zu zxx
"""
CODES = tuple(_CODES.split())
"""What py3langid 0.4 tells apart; a test compares."""


@stage("language")
@dataclass(frozen=True, kw_only=True)
class Language(Stage):
    """Keeps documents in certain languages and notes language and probability in `meta`.

    The classifier is py3langid (naive Bayes on byte n-grams, about 1,100 documents a second on one
    core with 1,000 characters each). It sees prose alone: formulas and code have no language.
    `meta["language"]` becomes what was measured, `meta["language_score"]` its probability.
    Reasons: `other_language`, `unsure_language`, `little_prose`.

    Args:
        languages: ISO 639 codes of those kept; empty keeps and notes every one.
        min_score: Least probability.
        sample_chars: Characters looked at, in three pieces from start, middle and end.
        min_chars: Documents with less prose cannot be told; 0 tells them anyway.
        keeps_little_prose: Keep those, without a language in `meta`.

    >>> english = Document("1", "Every bounded sequence of real numbers has a limit point.")
    >>> with Language().open() as tools:
    ...     kept = Language().apply(english, tools)
    ...     dropped = Language(languages=("de",)).apply(english, tools)
    >>> kept.meta["language"], dropped.reason
    ('en', 'other_language')
    """

    languages: tuple[str, ...] = ("en",)
    min_score: float = 0.5
    sample_chars: int = 1_000
    min_chars: int = 20
    keeps_little_prose: bool = False

    def __post_init__(self) -> None:
        for code in self.languages:
            if code not in CODES:
                raise InputError("language.languages", code, f"use codes of {' '.join(CODES)}")
        check_fraction("language", min_score=self.min_score)
        if self.sample_chars < 50:
            raise InputError("language.sample_chars", self.sample_chars, "use 50 or more")

    def open(self) -> AbstractContextManager[Any]:
        """Load the classifier (about a second)."""
        return nullcontext(_load())

    def apply(self, document: Document, tools: Any) -> Document | Dropped:
        """The document with its language noted, or why it goes."""
        words = read_prose(document.text).words
        prose = " ".join(words)
        if len(prose) < self.min_chars:
            if self.keeps_little_prose:
                return document
            detail = f"characters of prose {len(prose)} < {self.min_chars}"
            return Dropped("little_prose", detail, document)
        code, score = tools.classify(_sample(prose, self.sample_chars))
        if self.languages and code not in self.languages:
            return Dropped("other_language", f"{code} {score:.2f}", document)
        if score < self.min_score:
            return Dropped("unsure_language", f"{code} {score:.2f} < {self.min_score}", document)
        meta = {**document.meta, "language": code, "language_score": round(float(score), 4)}
        return replace(document, meta=meta)


@lru_cache(maxsize=1)  # 20 MB that never change: stages of one process share them
def _load() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ModuleNotFoundError:
        raise missing_extra("py3langid", "curate") from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _sample(text: str, chars: int) -> str:
    """Start, middle and end of a text: menus and foreign quotations are rarely in all three."""
    if len(text) <= chars:
        return text
    third = chars // 3
    middle = (len(text) - third) // 2
    return f"{text[:third]} {text[middle : middle + third]} {text[-third:]}"
