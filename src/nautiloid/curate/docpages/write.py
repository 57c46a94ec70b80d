"""Pages of the docstrings of this machine as a WARC archive, with what each of them says beside it."""

from __future__ import annotations

import ast
import itertools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from nautiloid.core.errors import InputError
from nautiloid.core.files import MANIFEST, atomic_path, verify_manifest, write_manifest
from nautiloid.curate.docpages.page import url_of, whole_page
from nautiloid.curate.docpages.rst import MATH_OUTPUTS, render
from nautiloid.curate.store import JsonlWriter
from nautiloid.curate.warc_writer import writing
from nautiloid.data.sources.python_install import Module, PythonInstall, documented, parse

ARCHIVES, TRUTH = "warc", "truth.jsonl.zst"
ARCHIVE_PAGES = 100  # an archive is a unit of work of the curation
DATE = datetime(2000, 1, 1, tzinfo=UTC)  # the same bytes on every day
BATCH = 16


@dataclass(frozen=True, kw_only=True)
class DocPages:
    """Which pages are made.

    Args:
        split: Part of the modules; a module is never in both parts.
        max_bytes: Stop before the docstrings exceed this.
        max_pages: Stop after this many.
        min_chars: Leave out modules with shorter docstrings.
    """

    split: Literal["train", "test"] = "train"
    max_bytes: int = 4_500_000
    max_pages: int | None = None
    min_chars: int = 200

    def __post_init__(self) -> None:
        if self.max_bytes < 1 or (self.max_pages is not None and self.max_pages < 1):
            raise InputError("pages", self.max_bytes, "use at least one byte and one page")


@dataclass(frozen=True, slots=True)
class Made:
    """One page.

    Args:
        size: UTF-8 bytes of its docstrings.
        truth: Words, formulas, encoding of the formulas and code blocks, for `Recall`.
    """

    url: str
    html: str
    size: int
    truth: dict[str, Any]


def write_pages(folder: Path, config: DocPages) -> None:
    """Write the archives `warc/*.warc.gz` and `truth.jsonl.zst`; does nothing when a whole copy is there.

    Raises:
        InputError: docutils is not installed, nothing is documented, or the copy was damaged since.
    """
    if (folder / MANIFEST).is_file():
        verify_manifest(folder)
        return
    count = 0
    with atomic_path(folder) as temporary:
        (temporary / ARCHIVES).mkdir(parents=True)
        pages = _some(_pages(config), config)
        with JsonlWriter(temporary / TRUTH) as truth:
            while batch := list(itertools.islice(pages, ARCHIVE_PAGES)):
                name = f"pages-{count // ARCHIVE_PAGES:05d}.warc.gz"
                with writing(temporary / ARCHIVES / name, date=DATE) as archive:
                    for page in batch:
                        archive.response(page.url, page.html.encode(), charset="utf-8")
                        truth.write({"url": page.url, **page.truth})
                count += len(batch)
        if not count:
            raise InputError("pages", config.split, "no installed module is documented")
        write_manifest(temporary, pages=count)


def _some(pages: Iterator[Made], config: DocPages) -> Iterator[Made]:
    size = 0
    for page in itertools.islice(pages, config.max_pages):
        size += page.size
        if size > config.max_bytes:
            return
        yield page


def _pages(config: DocPages) -> Iterator[Made]:
    """Pages in the order of the modules, made by a process a core."""
    modules = PythonInstall(split=config.split).modules()
    size = min(BATCH, config.max_pages or BATCH)
    context = multiprocessing.get_context("spawn")  # numba and torch may have threads by now
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_ctrl_c) as pool:
        waiting: deque[Future[list[Made]]] = deque()
        try:
            while True:
                batch = list(itertools.islice(modules, size))
                if batch:
                    waiting.append(pool.submit(make_pages, batch, config.min_chars))
                if waiting and (not batch or len(waiting) > 2 * (workers or 1)):
                    yield from waiting.popleft().result()
                elif not batch:
                    return
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _ignore_ctrl_c() -> None:
    """The parent decides: it ends the stage, which is short, and stops."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def make_pages(modules: list[Module], min_chars: int) -> list[Made]:
    """Pages of some modules; those that say little or cannot be parsed have none."""
    return [page for module in modules if (page := _page(module, min_chars)) is not None]


def _page(module: Module, min_chars: int) -> Made | None:
    tree = parse(module.text)
    if tree is None:
        return None
    head = ast.get_docstring(tree)
    parts = [("", head)] if head else []
    parts += documented(tree)
    if sum(len(text) for _, text in parts) < min_chars:
        return None
    math = MATH_OUTPUTS[
        blake2b(module.name.encode(), digest_size=1).digest()[0] % len(MATH_OUTPUTS)
    ]
    body, truth = render(module.name, parts, math)
    names = [signature.partition("(")[0] for signature, _ in parts if signature]
    page = whole_page(module.name, body, names, math, module.licence)
    said = {
        "words": [*module.name.split(), *truth.words],
        "formulas": truth.formulas,
        "encoding": math,
        "code": truth.code,
    }
    size = sum(len(text.encode()) for _, text in parts)
    return Made(url_of(module.name), page, size, said)
