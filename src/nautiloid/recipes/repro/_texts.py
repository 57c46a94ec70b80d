"""Text that no web page and no extractor had a part in: neutral training text, held-out text, the tokenizer."""

from __future__ import annotations

import hashlib
import logging
import re
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from nautiloid.core.errors import InputError
from nautiloid.core.files import atomic_path
from nautiloid.core.types import Sample
from nautiloid.data.sources.jsonl import Jsonl, write_jsonl
from nautiloid.data.tokenizer import Tokenizer
from nautiloid.recipes.repro import _arms
from nautiloid.recipes.repro._pages import PageSet
from nautiloid.recipes.repro._rst import markdown

log = logging.getLogger("nautiloid.repro")

SUBJECTS = ("math", "code", "text")
HELD_OUT_SHARE = 0.15
MIN_FORMULAS, MIN_FORMULA_SHARE = 3, 0.08
WORDS = 13
MIN_CODE_BYTES = 500
MAX_OVERLAP = 0.05


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Where text comes from.

    Args:
        held_out: Packages whose reStructuredText sources are the held-out mathematics; no page of
            theirs is trained on.
        text: Package whose sources are the neutral prose, split by document.
        vocab_size: Of the tokenizer.
        neutral_bytes: Upper bound of the neutral prose and of the neutral code, each.
        held_out_bytes: Upper bound of each held-out subject.
        module_bytes: Longer modules are left out; many are tables.
    """

    held_out: tuple[str, ...]
    text: str
    vocab_size: int = 4096
    neutral_bytes: int = 8_000_000
    held_out_bytes: int = 600_000
    module_bytes: int = 50_000


def write_neutral(folder: Path, config: TextConfig, cache: Path) -> None:
    """Prose of one documentation and code of the standard library, both split by document, once."""
    if (folder / "held_out" / "code.jsonl.zst").is_file():
        return
    sources = list(_rst_documents(cache, (config.text,)))
    is_test = {id: _share(id) < HELD_OUT_SHARE for id, _ in sources}
    modules = list(_library_modules(config.module_bytes))
    for place, wants_test, limit in (
        ("neutral", False, config.neutral_bytes),
        ("held_out", True, config.held_out_bytes),
    ):
        prose = (
            Sample(id=id, source="text", text=text)
            for id, text in sources
            if is_test[id] == wants_test
        )
        code = (s for s in modules if (_share(s.id) < HELD_OUT_SHARE) == wants_test)
        _write(folder / place / "text.jsonl.zst", _bounded(prose, limit))
        _write(folder / place / "code.jsonl.zst", _bounded(code, limit))


def _library_modules(max_bytes: int) -> Iterator[Sample]:
    """Source files of this Python's standard library in the order of their names' hashes."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = [p for p in root.rglob("*.py") if not {"site-packages", "__pycache__"} & {*p.parts}]
    names = {path.relative_to(root).as_posix(): path for path in paths}
    for name in sorted(names, key=_share):
        if MIN_CODE_BYTES <= names[name].stat().st_size <= max_bytes:
            text = names[name].read_text(encoding="utf-8", errors="replace")
            yield Sample(id=name, source="code", text=text, licence="PSF-2.0")


def write_held_out_math(folder: Path, config: TextConfig, cache: Path, arms: Sequence[str]) -> None:
    """Sections dense in formulas, from sources; those whose words stand in some training text go."""
    sections = [
        Sample(id=f"{id}#{number}", source="math", text=_arms.plain(section))
        for id, text in _rst_documents(cache, config.held_out)
        for number, section in enumerate(re.split(r"(?m)^(?=## )", text))
        if is_mathematics(section)
    ]
    sections.sort(key=lambda sample: hashlib.blake2b(sample.id.encode()).digest())
    trained = [folder / "pages" / f"{arm}.jsonl.zst" for arm in arms]
    trained += [folder / "neutral" / f"{name}.jsonl.zst" for name in ("text", "code")]
    overlap = overlaps(sections, trained)
    clean = [s for s in sections if overlap[s.id] <= MAX_OVERLAP]
    log.info(
        "held-out mathematics: %d sections, %d overlap with training",
        len(clean),
        len(sections) - len(clean),
    )
    _write(folder / "held_out" / "math.jsonl.zst", _bounded(clean, config.held_out_bytes))


def is_mathematics(section: str) -> bool:
    """Whether formulas are at least three and at least 8 % of the characters."""
    spans = _arms.formula_spans(section)
    return len(spans) >= MIN_FORMULAS and sum(b - a for a, b in spans) >= MIN_FORMULA_SHARE * len(
        section
    )


def overlaps(sections: Sequence[Sample], trained: Iterable[Path]) -> dict[str, float]:
    """Share of each section's runs of 13 words that occur in any of the files."""
    runs = {s.id: set(_runs(s.text or "")) for s in sections}
    wanted: set[str] = set().union(*runs.values())
    seen: set[str] = set()
    for path in trained:
        for sample in Jsonl(paths=(str(path),)).read():
            seen |= wanted.intersection(_runs(sample.text or ""))
    return {id: len(own & seen) / max(len(own), 1) for id, own in runs.items()}


def _runs(text: str) -> Iterator[str]:
    words = re.findall(r"\w+", text.lower())
    return (" ".join(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1))


def write_tokenizer(folder: Path, config: TextConfig, sets: Sequence[PageSet], cache: Path) -> None:
    """Train on neutral text and on the sources of the training packages, so that TeX has tokens too."""
    if (folder / "tokenizer").is_dir():
        return
    packages = dict.fromkeys(package for pages in sets for package in pages.packages)

    def texts() -> Iterator[str]:
        for name in ("text", "code"):
            samples = Jsonl(paths=(str(folder / "neutral" / f"{name}.jsonl.zst"),)).read()
            yield from (s.text or "" for s in _bounded(samples, config.neutral_bytes // 4))
        math = (text for _, text in _rst_documents(cache, tuple(packages)) if is_mathematics(text))
        yield from islice(math, 400)

    tokenizer = Tokenizer.train(texts(), config.vocab_size)
    with atomic_path(folder / "tokenizer") as temporary:
        temporary.mkdir()
        tokenizer.save(temporary)


def _rst_documents(cache: Path, packages: Sequence[str]) -> Iterator[tuple[str, str]]:
    for package in packages:
        for path in sorted((cache / package).rglob("*.rst.txt")):
            text = markdown(path.read_text(encoding="utf-8", errors="replace"))
            if len(text) >= _arms.MIN_CHARS:
                yield f"{package}/{path.relative_to(cache / package).as_posix()}", text


def _share(name: str) -> float:
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def _bounded(samples: Iterable[Sample], limit: int) -> Iterator[Sample]:
    """The first samples that reach `limit` bytes together."""
    size = 0
    for sample in samples:
        yield sample
        size += len((sample.text or "").encode())
        if size >= limit:
            return


def _write(path: Path, samples: Iterator[Sample]) -> None:
    if not write_jsonl(path, samples):
        raise InputError(str(path), "no document", "check the packages of the corpus")
