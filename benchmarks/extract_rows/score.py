"""Figures of one extraction against the truth of its page, and their means over pages and packages."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, fields
from functools import lru_cache

from extract_rows.truth import DELIMITED, DOLLAR, WORD, Truth, without_tex
from nautiloid.curate.math.normal import normalise

MARKUP = re.compile(r"\[MATH:(.*?):MATH\]", re.DOTALL)
FENCED = re.compile(r"(?ms)^(?:[ >]|[-:] |\d+\. )*(`{3,}).*?^[ >]*\1[ ]*$")
# Any text holds shorter ones.
SHORTEST = 4


@dataclass
class Counts:
    """Sums over pages; every mean is a quotient of two of them."""

    formulas: int = 0
    recalled: int = 0
    written: int = 0
    right: int = 0
    shown: int = 0
    shown_right: int = 0
    true_words: int = 0
    words: int = 0
    common: int = 0
    codes: int = 0
    codes_right: int = 0
    chrome: int = 0
    chrome_left: int = 0
    chars: int = 0
    true_chars: int = 0
    pages: int = 0
    failures: int = 0

    def __iadd__(self, other: Counts) -> Counts:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        return self


@dataclass(frozen=True)
class Means:
    """The figures of a tool on a package; None where the package has nothing of the kind."""

    math_recall: float | None
    math_precision: float | None
    display: float | None
    text_precision: float | None
    text_recall: float | None
    text_f1: float | None
    code: float | None
    boilerplate: float | None
    length: float | None


COMBINED = ("math_recall", "math_precision", "text_f1", "code", "clean")


@lru_cache(maxsize=1 << 16)
def _normal(tex: str) -> str:
    return normalise(tex)


def count(text: str, truth: Truth, is_failure: bool = False) -> Counts:
    """Figures of one page."""
    made = Counts(pages=1, failures=int(is_failure), true_chars=truth.chars, chars=len(text))
    _count_math(made, text, truth)
    prose = without_tex(FENCED.sub(" ", text), truth.formulas, truth.has_others)
    _count_words(made, prose, text, truth)
    made.codes = len(truth.codes)
    lines = [line.expandtabs(8).rstrip() for line in text.replace("\xa0", " ").split("\n")]
    made.codes_right = sum(_has_code(lines, code) for code in truth.codes)
    return made


def written(text: str, truth: Truth) -> list[tuple[str, bool]]:
    """Formulas that a text marks as such, listings left out, with whether it displays them."""
    code = {line.strip() for block in truth.codes for line in block if line.strip()}
    lines = FENCED.sub(" ", text).split("\n")
    text = "\n".join(line for line in lines if line.strip() not in code)
    found = [(match[1], False) for match in MARKUP.finditer(text)]
    text = MARKUP.sub(" ", text)
    for match in DELIMITED.finditer(text):
        tex = next(group for group in match.groups() if group is not None)
        found.append((tex, match.lastgroup != "inline"))
    text = re.sub(r"`[^`\n]*`", " ", DELIMITED.sub(" ", text))
    found += [(match["dollar"], False) for match in DOLLAR.finditer(text)]
    return found


def _count_math(made: Counts, text: str, truth: Truth) -> None:
    true = Counter(_normal(formula.tex) for formula in truth.formulas)
    shown = {_normal(formula.tex): formula.is_display for formula in truth.formulas}
    marked = written(text, truth) if truth.formulas else []
    emitted = Counter(_normal(tex) for tex, _ in marked)
    # Recall takes the formula as the text has it, delimited or not: peers give bare alternative texts.
    squeezed = "".join(text.split())
    counted: Counter[str] = Counter()
    for formula in truth.formulas:
        plain = "".join(formula.tex.split())
        if len(plain) >= SHORTEST:
            counted[plain] += 1
    normal_of = {"".join(f.tex.split()): _normal(f.tex) for f in truth.formulas}
    for plain, number in counted.items():
        made.formulas += number
        made.recalled += min(number, max(squeezed.count(plain), emitted[normal_of[plain]]))
    if truth.formulas:
        made.written = sum(emitted.values())
        made.right = sum((emitted & true).values())
    for tex, is_display in marked:
        normal = _normal(tex)
        if normal in shown:
            made.shown += 1
            made.shown_right += shown[normal] == is_display


def _count_words(made: Counts, prose: str, text: str, truth: Truth) -> None:
    found = Counter(WORD.findall(prose.lower()))
    code = Counter(word for block in truth.codes for word in WORD.findall("\n".join(block).lower()))
    # Words of listings are the business of the code figure: they are neither missed nor wrong here.
    found -= code - truth.words if "```" not in text else Counter()
    made.true_words, made.words = sum(truth.words.values()), sum(found.values())
    made.common = sum((found & truth.words).values())
    made.chrome = sum(truth.chrome.values())
    made.chrome_left = sum(((found - truth.words) & truth.chrome).values())


def _has_code(lines: list[str], code: tuple[str, ...]) -> bool:
    """Whether the lines hold a listing: equal but for one margin that all of its lines share."""
    margin = min(len(line) - len(line.lstrip()) for line in code if line)
    wanted = [line[margin:] for line in code]
    first = wanted[0]
    for start, line in enumerate(lines):
        if not line.endswith(first) or start + len(wanted) > len(lines):
            continue
        prefix = line[: len(line) - len(first)]
        if prefix.strip(" >|"):
            continue
        if all(
            lines[start + index] == prefix + want
            if want
            else lines[start + index].strip() in ("", prefix.strip())
            for index, want in enumerate(wanted)
        ):
            return True
    return False


def means(counts: Counts) -> Means:
    """Figures of the pages of one package."""
    precision = _share(counts.common, counts.words, empty=0.0)
    recall = _share(counts.common, counts.true_words)
    f1 = None
    if precision is not None and recall is not None:
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    math_precision = _share(counts.right, counts.written)
    if counts.formulas and math_precision is None:
        # Bare TeX with no delimiters: nothing wrong can be told from it, nothing right either without recall.
        math_precision = float(counts.recalled > 0)
    return Means(
        _share(counts.recalled, counts.formulas),
        math_precision if counts.formulas else None,
        _share(counts.shown_right, counts.shown),
        precision,
        recall,
        f1,
        _share(counts.codes_right, counts.codes),
        _share(counts.chrome_left, counts.chrome),
        _share(counts.chars, counts.true_chars),
    )


def _share(part: int, whole: int, empty: float | None = None) -> float | None:
    return part / whole if whole else empty


@dataclass
class Table:
    """What was measured of a tool.

    Args:
        counts: By package.
        encodings: Recall by encoding of one list of formulas.
        converted: Recall of MathML whose TeX was taken out.
    """

    counts: dict[str, Counts] = field(default_factory=dict[str, Counts])
    encodings: dict[str, float] = field(default_factory=dict[str, float])
    converted: float | None = None

    def mean(self, name: str, packages: tuple[str, ...] | None = None) -> float | None:
        """Mean of a figure over the packages that have it; `clean` is one minus the boilerplate left."""
        if name == "math_recall":
            parts = [
                self.mean(f"math_recall_{part}", packages)
                for part in ("real", "encodings", "converted")
            ]
            known = [part for part in parts if part is not None]
            return sum(known) / len(known) if known else None
        if name == "math_recall_encodings":
            return sum(self.encodings.values()) / len(self.encodings) if self.encodings else None
        if name == "math_recall_converted":
            return self.converted
        field_name = {"clean": "boilerplate", "math_recall_real": "math_recall"}.get(name, name)
        values: list[float] = []
        for package, counts in self.counts.items():
            if packages is not None and package not in packages:
                continue
            value = getattr(means(counts), field_name)
            if value is not None:
                values.append(1 - value if name == "clean" else value)
        return sum(values) / len(values) if values else None

    def combined(self, packages: tuple[str, ...] | None = None) -> float:
        """Mean of the five figures of `COMBINED`."""
        values = [self.mean(name, packages) for name in COMBINED]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else 0.0
