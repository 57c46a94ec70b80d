"""Whether a model cleaned a text or did something else to it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nautiloid.core.errors import InputError
from nautiloid.curate.clean.edits import edit_distance
from nautiloid.curate.clean.skeleton import words
from nautiloid.curate.math.normal import normalise
from nautiloid.curate.text.spans import Span, find_spans

_FOREIGN = re.compile(
    r"\\[()\[\]]|\\begin\{(?:equation|align|gather|multline|eqnarray|displaymath)"
)
_DOLLAR = re.compile(r"\\.|\$", re.DOTALL)
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?:;][\"')\]]*$")
_SLACK_WORDS = 12


class Problem(NamedTuple):
    """Why an answer is not used.

    Args:
        reason: A short fixed word, counted.
        detail: What was found, one line.
    """

    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How much a model may change.

    Words are those of `skeleton.words`: notation does not count. Lines that are gone entirely are
    deletions; what is left is compared with the answer.

    Args:
        max_edits: Words inserted, removed or replaced, as a fraction of the words that stay.
        max_novelty: Fraction of 3-grams of the answer that the text does not have.
        max_inserted: Longest run of words in the answer that follow each other nowhere in the text:
            an answer to an exercise, a summary, a promise to obey.
        max_growth: Words of the answer by words of the text.
        max_deleted_prose: Fraction of the words of full sentences that lie in deleted lines.
        keeps_code: Every code block is in the answer as it was, white space at line ends aside.
    """

    max_edits: float = 0.1
    max_novelty: float = 0.25
    max_inserted: int = 8
    max_growth: float = 1.2
    max_deleted_prose: float = 0.4
    keeps_code: bool = True

    def __post_init__(self) -> None:
        for name in ("max_edits", "max_novelty", "max_deleted_prose"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InputError(f"bounds.{name}", value, "use a fraction from 0 to 1")
        if self.max_inserted < 1:
            raise InputError("bounds.max_inserted", self.max_inserted, "use 1 or more")
        if not self.max_growth >= 1:
            raise InputError("bounds.max_growth", self.max_growth, "use 1 or more")


def check(before: str, after: str, bounds: Bounds) -> Problem | None:
    r"""The first rule that an answer breaks, None for a good one.

    Reasons: `formulas_lost`, `code_changed`, `notation`, `growth`, `inserted`, `novelty`,
    `prose_lost`, `rewritten`. An empty answer passes where the text has neither formulas nor code.

    >>> check("Let \\(x\\) be real. Home", "Let $x$ be real.", Bounds())
    >>> check("Let $x$ and $y$ be real.", "Let $x$ be real.", Bounds())
    Problem(reason='formulas_lost', detail='1 of 2: y')
    """
    spans = find_spans(before, is_foreign=True)
    answered = find_spans(after, is_foreign=True)
    return (
        _formulas_lost(before, spans, after, answered)
        or (_code_changed(before, spans, after, answered) if bounds.keeps_code else None)
        or _notation(before, spans, after, answered)
        or (_rewritten(before, after, bounds) if after.strip() else None)
    )


def formulas(text: str, spans: Sequence[Span]) -> Counter[str]:
    """Formulas in common spelling, with how often each occurs."""
    found = (_common(span.inner(text) if span.skip <= 2 else text[span.start : span.stop])
             for span in spans if span.is_formula)  # fmt: skip
    return Counter(formula for formula in found if formula)


def _common(tex: str) -> str:
    return normalise(tex).strip().rstrip(".,;:")


def _formulas_lost(
    before: str, spans: Sequence[Span], after: str, answered: Sequence[Span]
) -> Problem | None:
    wanted = formulas(before, spans)
    lost = wanted - formulas(after, answered)
    if not lost:
        return None
    shown = "; ".join(sorted(lost)[:3])[:200]
    return Problem("formulas_lost", f"{lost.total()} of {wanted.total()}: {shown}")


def _code_changed(
    before: str, spans: Sequence[Span], after: str, answered: Sequence[Span]
) -> Problem | None:
    wanted = Counter(_code(span.inner(before)) for span in spans if span.kind == "fence")
    lost = wanted - Counter(_code(span.inner(after)) for span in answered if span.kind == "fence")
    if not lost:
        return None
    first = min(lost).strip().split("\n")[0][:80]
    return Problem("code_changed", f"{lost.total()} of {wanted.total()} blocks: {first}")


def _code(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n"))


def _notation(
    before: str, spans: Sequence[Span], after: str, answered: Sequence[Span]
) -> Problem | None:
    """Dollars are the only delimiters, in pairs, and the formulas between them can be read."""
    for span in answered:
        if span.is_formula and after[span.start] != "$":
            return Problem("notation", f"other delimiters: {after[span.start : span.start + 60]!r}")
    rest = _without(after, answered)
    if _FOREIGN.search(rest) and not _FOREIGN.search(_without(before, spans)):
        return Problem("notation", "a delimiter without its partner")
    if _dollars(rest) > _dollars(_without(before, spans)):
        return Problem("notation", "a dollar without its partner")
    known = {span.inner(before) for span in spans}
    for span in answered:
        tex = span.inner(after)
        if span.is_formula and tex not in known and not _is_balanced(tex):
            return Problem("notation", f"braces without partners: {tex[:60]!r}")
    return None


def _without(text: str, spans: Sequence[Span]) -> str:
    at = 0
    parts: list[str] = []
    for span in spans:
        parts.append(text[at : span.start])
        at = span.stop
    return " ".join((*parts, text[at:]))


def _dollars(text: str) -> int:
    return sum(match.group() == "$" for match in _DOLLAR.finditer(text))


def _is_balanced(tex: str) -> bool:
    depth = 0
    for match in _BRACES.finditer(tex):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth < 0:
            return False
    return depth == 0


def _rewritten(before: str, after: str, bounds: Bounds) -> Problem | None:
    new = words(after)
    if not new:
        return None
    old_lines = [(line, words(line)) for line in _blocks(before)]
    old_count = sum(len(line) for _, line in old_lines)
    if len(new) > bounds.max_growth * old_count + _SLACK_WORDS:
        return Problem("growth", f"{len(new)} words from {old_count}")
    pairs = {gram for _, line in old_lines for gram in _grams(line, 2)}
    run = longest = 0
    for gram in _grams(new, 2):
        run = 0 if gram in pairs else run + 1
        longest = max(longest, run)
    if longest > bounds.max_inserted:
        return Problem("inserted", f"{longest} words in a row > {bounds.max_inserted}")
    old_grams = {gram for _, line in old_lines for gram in _grams(line, 3)}
    old_grams |= set(_grams([word for _, line in old_lines for word in line], 3))
    new_grams = _grams(new, 3)
    strange = sum(gram not in old_grams for gram in new_grams)
    if strange > bounds.max_novelty * len(new_grams) + 3:
        share = strange / len(new_grams)
        return Problem("novelty", f"3-grams {share:.2f} > {bounds.max_novelty}")
    known = set(_grams(new, 2))
    single = set(new)
    kept: list[str] = []
    prose = deleted = 0
    for text, line in old_lines:
        grams = _grams(line, 2)
        is_kept = (
            sum(gram in known for gram in grams) >= 0.5 * len(grams)
            if grams
            else all(word in single for word in line)
        )
        is_prose = len(line) >= 8 and _SENTENCE_END.search(text) is not None
        prose += len(line) if is_prose else 0
        if is_kept:
            kept += line
        elif is_prose:
            deleted += len(line)
    if deleted > bounds.max_deleted_prose * prose:
        return Problem("prose_lost", f"{deleted} of {prose} words of sentences")
    most = max(len(kept), len(new))
    limit = int(bounds.max_edits * most) + 2
    if edit_distance(kept, new, limit) > limit:
        return Problem("rewritten", f"word edits of {most} > {limit}")
    return None


def _grams(found: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(found[k:] for k in range(n)), strict=False))


def _blocks(text: str) -> list[str]:
    """Lines of a text; a formula or code block over several lines is in one."""
    lines: list[str] = []
    at = 0
    for span in find_spans(text, is_foreign=True):
        inside = text[at : span.start].split("\n")
        if lines:
            lines[-1] += inside.pop(0)
        lines += inside
        lines[-1] += text[span.start : span.stop]
        at = span.stop
    rest = text[at:].split("\n")
    if lines:
        lines[-1] += rest.pop(0)
    return [line for line in lines + rest if line.strip()]
