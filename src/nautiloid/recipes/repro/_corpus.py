"""What all models of the comparison share, and what they differ in: text made once, kept as files.

<corpus>/pages/<arm>.jsonl.zst     the same pages by every extractor
<corpus>/neutral/{text,code}...    mixed into every training, from no web page
<corpus>/held_out/{math,text,code} scored, never trained on
<corpus>/tokenizer                 one for all, trained on no extractor's output
"""

from __future__ import annotations

import logging
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from nautiloid.core.errors import InputError
from nautiloid.core.files import MANIFEST, read_json, verify_manifest, write_json, write_manifest
from nautiloid.core.progress import progress
from nautiloid.core.types import Sample
from nautiloid.data.sources.jsonl import Jsonl, write_jsonl
from nautiloid.data.tokenizer import Tokenizer
from nautiloid.recipes.repro import _arms, _texts
from nautiloid.recipes.repro._pages import PageSample, PageSet, chosen_pages
from nautiloid.recipes.repro._survival import survival
from nautiloid.recipes.repro._texts import TextConfig

log = logging.getLogger("nautiloid.repro")


def write_corpus(
    folder: Path,
    config: TextConfig,
    sets: Mapping[str, PageSet],
    arms: Sequence[str],
    cache: Path,
    workers: int,
    should_stop: threading.Event,
) -> bool:
    """Write what is missing of the corpus; every file is whole or absent, the manifest comes last.

    Returns:
        False when it was asked to stop before the end.

    Raises:
        InputError: Something gives no text, or a finished corpus was damaged since.
    """
    if (folder / MANIFEST).is_file():
        verify_manifest(folder)
        return True
    pages = chosen_pages(cache, list(sets.values()), folder.with_name("rendered"))
    log.info("%d pages of %d packages", len(pages), len({id.split("/")[0] for id in pages}))
    facts: dict[str, object] = {}
    for arm in arms:
        _write_pages(folder / "pages", arm, pages, workers, should_stop)
        if should_stop.is_set():
            return False
        facts[arm] = read_json(folder / "pages" / f"{arm}.json")
    _texts.write_neutral(folder, config, cache)
    _texts.write_held_out_math(folder, config, cache, arms)
    _texts.write_tokenizer(folder, config, list(sets.values()), cache)
    write_manifest(
        folder,
        pages=facts,
        survival=survival(pages, folder, arms),
        sets={
            name: {arm: _totals(folder, arm, chosen) for arm in arms}
            for name, chosen in sets.items()
        },
        **{part: _sizes(folder / part) for part in ("neutral", "held_out")},
    )
    return True


def arms_of(folder: Path, arms: Sequence[str]) -> tuple[str, ...]:
    """The arms whose text a finished corpus holds.

    Raises:
        InputError: It is not finished, or holds too few to compare.
    """
    facts = verify_manifest(folder)
    held = tuple(arm for arm in arms if arm in facts["pages"])
    if held[:1] != tuple(arms[:1]) or len(held) < 2:
        raise InputError("corpus", str(folder), f"holds {', '.join(facts['pages'])}; make it again")
    return held


def _write_pages(
    folder: Path, arm: str, pages: Mapping[str, Path], workers: int, should_stop: threading.Event
) -> None:
    """Extract every page by one arm, and count pages, bytes and formulas by package."""
    file, counts_file = folder / f"{arm}.jsonl.zst", folder / f"{arm}.json"
    if counts_file.is_file():
        return
    texts: dict[str, str] = {}
    with progress(f"pages by {arm}", len(pages)) as bar:
        for id, text in _extracted(arm, pages, workers):
            if should_stop.is_set():
                return
            texts[id] = text
            bar.advance()
    kept = (Sample(id=id, source=arm, text=texts[id]) for id in sorted(texts) if texts[id])
    write_jsonl(file, kept)
    counts: dict[str, Counter[str]] = {}
    for id, text in texts.items():
        tally = counts.setdefault(id.split("/", 1)[0], Counter())
        spans = _arms.formula_spans(text)
        tally.update(pages=1, kept=bool(text), bytes=len(text.encode()), formulas=len(spans))
    write_json(counts_file, {name: dict(tally) for name, tally in sorted(counts.items())})


def _extracted(arm: str, pages: Mapping[str, Path], workers: int) -> Iterator[tuple[str, str]]:
    if workers < 2:
        yield from ((id, _arms.extract(arm, id, path)) for id, path in pages.items())
        return
    pool = ProcessPoolExecutor(workers, initializer=_leave_signals)
    try:
        made = pool.map(partial(_arms.extract, arm), pages, pages.values(), chunksize=4)
        yield from zip(pages, made, strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_signals() -> None:
    """The parent decides when to stop."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _totals(folder: Path, arm: str, pages: PageSet) -> dict[str, int]:
    """Size of one pass over a set as an arm gives it."""
    tokenizer = Tokenizer.load(folder / "tokenizer")
    source = PageSample(path=str(folder / "pages" / f"{arm}.jsonl.zst"), pages=pages)
    texts = [sample.text or "" for sample in source.read()]
    formulas = [(text, *span) for text in texts for span in _arms.formula_spans(text)]
    displays = [(text, a, b) for text, a, b in formulas if text.startswith("$$", a)]
    return {
        "pages": len(texts),
        "bytes": sum(len(text.encode()) for text in texts),
        "tokens": sum(map(len, tokenizer.encode_batch(texts))),
        "formulas": len(formulas),
        "displays": len(displays),
        "displays_on_own_line": sum(a == 0 or text[a - 1] == "\n" for text, a, _ in displays),
        "displays_of_several_lines": sum(text[a:b].count("\n") > 2 for text, a, b in displays),
    }


def _sizes(folder: Path) -> dict[str, dict[str, int]]:
    sizes: dict[str, dict[str, int]] = {}
    for path in sorted(folder.glob("*.jsonl.zst")):
        texts = [(s.text or "").encode() for s in Jsonl(paths=(str(path),)).read()]
        sizes[path.name.split(".")[0]] = {"documents": len(texts), "bytes": sum(map(len, texts))}
    return sizes
