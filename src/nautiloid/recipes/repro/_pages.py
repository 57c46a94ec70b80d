"""Mathematical pages of Debian's documentation packages: fetched, chosen by rule, read by hash order."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from nautiloid.core.errors import InputError
from nautiloid.core.files import atomic_path
from nautiloid.core.types import Sample
from nautiloid.data.source import Source, source
from nautiloid.data.sources.jsonl import Jsonl
from nautiloid.recipes.repro._render import install, render_pages

log = logging.getLogger("nautiloid.repro")

SUFFIXES = (".html", ".htm", ".xhtml")
MIN_BYTES, MAX_BYTES = 2_000, 2_000_000
MIN_MARKS = 5
# What any encoding of a formula leaves in the bytes of a page; knows no extractor.
_MARK = re.compile(
    rb'\\\(|\\\[|class="math|<img[^>]{1,200}class="(?:math|formula)|<math[ >]|<su[bp]>',
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class PageSet:
    """Which pages a comparison is trained on.

    Args:
        packages: Debian packages.
        per_package: At most so many pages of each, the first by the hash of their paths, so that no
            project and no encoding dominates.
        is_rendered: Write the formulas anew in other encodings first (`_render.py`).
    """

    packages: tuple[str, ...]
    per_package: int
    is_rendered: bool = False


def fetch(packages: Sequence[str], cache: Path) -> None:
    """Make sure that every package lies unpacked in `cache/<package>`.

    Raises:
        InputError: It is neither there nor to be had from the package archive.
    """
    for package in packages:
        if (cache / package).is_dir():
            continue
        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise InputError(
                    "cache", str(cache), f"holds no {package}, and {tool} is not there to fetch it"
                )
        log.info("fetching %s", package)
        with atomic_path(cache / package) as folder:
            folder.mkdir()
            command = ["apt-get", "download", package]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            archives = sorted(folder.glob("*.deb"))
            if done.returncode or not archives:
                raise InputError(
                    package, done.stderr.strip()[-200:] or None,
                    "cannot be downloaded; unpack it into the cache by hand (dpkg-deb -x)",
                )  # fmt: skip
            subprocess.run(["dpkg-deb", "-x", archives[0], folder], check=True)
            archives[0].unlink()


def formula_pages(cache: Path, package: str) -> Iterator[tuple[str, Path]]:
    """Name and file of the pages with formulas in any encoding, in the order of the names' hashes."""
    home = cache / package
    found = [
        path
        for path in home.rglob("*")
        if path.suffix in SUFFIXES and path.is_file() and not path.is_symlink()
    ]
    names = {path.relative_to(home).as_posix(): path for path in found}
    for name in sorted(names, key=lambda name: hashlib.blake2b(name.encode()).digest()):
        path = names[name]
        if not MIN_BYTES <= path.stat().st_size <= MAX_BYTES:
            continue
        if sum(1 for _ in islice(_MARK.finditer(path.read_bytes()), MIN_MARKS)) == MIN_MARKS:
            yield name, path


def chosen_pages(cache: Path, sets: Sequence[PageSet], rendered: Path) -> dict[str, Path]:
    """Ids `<package>/<rank>/<name>` and files of all pages that some set wants.

    The packages of pages whose formulas are written anew end in `+`.

    Args:
        cache: Where the packages lie.
        sets: What is wanted.
        rendered: Where pages go whose formulas are written anew.
    """
    pages: dict[str, Path] = {}
    for is_rendered in (False, True):
        wanted: dict[str, int] = {}
        for chosen in sets:
            for package in chosen.packages if chosen.is_rendered == is_rendered else ():
                wanted[package] = max(wanted.get(package, 0), chosen.per_package)
        for package, count in wanted.items():
            ranked = list(enumerate(islice(formula_pages(cache, package), count)))
            files = {f"{package}/{rank}": path for rank, (_, path) in ranked}
            if is_rendered:
                files = render_pages(files, rendered, install(cache))
            mark = "+" if is_rendered else ""
            for rank, (name, _) in ranked:
                pages[f"{package}{mark}/{rank}/{name}"] = files[f"{package}/{rank}"]
    return pages


@source("recipes.repro._pages")
@dataclass(frozen=True, kw_only=True)
class PageSample(Source):
    """Extracted pages of a set, thinned at random by a number.

    Args:
        path: JSON lines with ids of `chosen_pages`.
        pages: The set.
        share: Part of the pages that is read.
        draw: Which part; the same pages for every extractor.
    """

    path: str
    pages: PageSet
    share: float = 1.0
    draw: int = 0

    def files(self) -> Sequence[Path]:
        """The one file."""
        return (Path(self.path),)

    def read(self, start: int = 0) -> Iterator[Sample]:
        """The pages of the draw, from the one with number `start` on."""
        yield from islice(filter(self._is_drawn, Jsonl(paths=(self.path,)).read()), start, None)

    def _is_drawn(self, sample: Sample) -> bool:
        package, rank, name = sample.id.split("/", 2)
        original = package.removesuffix("+")
        if (
            original not in self.pages.packages
            or (original != package) != self.pages.is_rendered
            or int(rank) >= self.pages.per_package
        ):
            return False
        words = f"{self.draw}/{original}/{name}"
        digest = hashlib.blake2b(words.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") / 2**64 < self.share
