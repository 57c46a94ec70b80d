"""Real text that every machine has: the modules of the running Python and of its packages."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nautiloid.core.errors import InputError
from nautiloid.core.types import Sample
from nautiloid.data.source import Source, source


@dataclass(frozen=True, slots=True)
class Module:
    """A module as it lies on the disk.

    Args:
        name: Dotted name.
        text: Its source.
        licence: Of the package that it belongs to, as the package states it.
    """

    name: str
    text: str
    licence: str | None


SKIPPED_FOLDERS = frozenset({"__pycache__", "site-packages", "dist-packages", "test", "tests"})
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@source("python_install")
@dataclass(frozen=True, kw_only=True)
class PythonInstall(Source):
    """Docstrings and sources of the standard library and of every installed package.

    The order is that of a hash of the module name: fixed, and mixed enough that any prefix is a
    fair sample of the whole. Files of equal content appear once; test folders, files that do not
    parse and files outside the size limits are left out.

    Args:
        which: `docstrings` gives one Markdown document a module, `sources` its code.
        split: Part of the modules, chosen by the hash; a module is never in both parts.
        test_share: Share of the modules in the `test` part.
        max_documents: Stop after this many.
        max_bytes: Stop before the UTF-8 bytes of all documents exceed this.
        min_chars: Leave out shorter documents.
        max_file_bytes: Leave out larger files, which are mostly generated tables.
    """

    which: tuple[Literal["docstrings", "sources"], ...] = ("docstrings", "sources")
    split: Literal["train", "test", "all"] = "train"
    test_share: float = 0.02
    max_documents: int | None = None
    max_bytes: int | None = None
    min_chars: int = 200
    max_file_bytes: int = 200_000

    def __post_init__(self) -> None:
        if not self.which:
            raise InputError("source.which", self.which, "name docstrings, sources or both")
        if not 0 <= self.test_share < 1:
            raise InputError("source.test_share", self.test_share, "use a share from 0 to below 1")

    def facts(self) -> tuple[str, ...]:
        """Versions of Python and of the packages, and where they are."""
        packages = sorted(f"{d.name} {d.version}" for d in importlib.metadata.distributions())
        return (sys.version, *map(str, _roots()), *packages)

    def read(self, start: int = 0) -> Iterator[Sample]:
        """One sample a document; documents before `start` are made and passed over."""
        size = 0
        for index, sample in enumerate(self._documents()):
            assert sample.text is not None
            size += len(sample.text.encode())
            is_full = self.max_documents is not None and index >= self.max_documents
            if is_full or (self.max_bytes is not None and size > self.max_bytes):
                return
            if index >= start:
                yield sample

    def modules(self) -> Iterator[Module]:
        """The modules of the split, copies of a file once, in the order of their documents."""
        licences = _licences()
        seen: set[bytes] = set()
        for name, path, top in _modules():
            text = _read(path, self.max_file_bytes)
            if text is None:
                continue
            digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
            if digest in seen:  # vendored copies, which would also leak from one split to the other
                continue
            seen.add(digest)
            if self.split != "all" and (_share(name) < self.test_share) != (self.split == "test"):
                continue
            yield Module(name, text, licences.get(top, self.licence))

    def _documents(self) -> Iterator[Sample]:
        for module in self.modules():
            tree = parse(module.text)
            if tree is None:
                continue
            for kind in self.which:
                text = module.text if kind == "sources" else docstrings(module.name, tree)
                if len(text) >= self.min_chars:
                    yield Sample(
                        id=f"{module.name}:{kind}",
                        source=self.kind,
                        text=text,
                        licence=module.licence,
                        meta={"module": module.name, "part": kind},
                    )


def docstrings(name: str, tree: ast.Module) -> str:
    '''The docstrings of a module as one Markdown document, in the order of the source.

    >>> print(docstrings("m", ast.parse("""'About m.'\\ndef f(x, y=1):\\n    'Add.'""")))
    # m
    <BLANKLINE>
    About m.
    <BLANKLINE>
    ## f(x, y=1)
    <BLANKLINE>
    Add.
    <BLANKLINE>

    Returns:
        Empty text when nothing is documented.
    '''
    parts = [
        f"{'###' if '.' in signature.partition('(')[0] else '##'} {signature}\n\n{text.strip()}"
        for signature, text in documented(tree)
    ]
    head = ast.get_docstring(tree)
    if not parts and not head:
        return ""
    return "\n\n".join([f"# {name}", *([head.strip()] if head else []), *parts]) + "\n"


def documented(node: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Signature and docstring of all documented classes, functions and methods."""
    for child in node.body:
        if not isinstance(child, Definition):
            continue
        text = ast.get_docstring(child)
        name = f"{prefix}{child.name}"
        if text:
            arguments = "" if isinstance(child, ast.ClassDef) else f"({ast.unparse(child.args)})"
            yield f"{name}{arguments}", text
        if isinstance(child, ast.ClassDef):
            yield from documented(child, f"{name}.")


def _roots() -> list[Path]:
    paths = sysconfig.get_paths()
    return list(dict.fromkeys(Path(paths[key]) for key in ("stdlib", "purelib", "platlib")))


def _modules() -> list[tuple[str, Path, str]]:
    """Dotted name, file and top-level entry of all modules, ordered by the hash of the name."""
    found: dict[str, tuple[str, str]] = {}
    for root in map(str, _roots()):
        for folder, folders, names in os.walk(root):
            # sorted, so that which of two modules of one name counts does not depend on the disk
            folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS and f.isidentifier())
            packages = folder[len(root) :].split(os.sep)[1:]
            for name in names:
                if name.endswith(".py") and name[:-3].isidentifier():
                    last = [] if name == "__init__.py" else [name[:-3]]
                    path = os.path.join(folder, name)
                    found.setdefault(".".join(packages + last), (path, [*packages, name][0]))
    found.pop("", None)
    ordered = sorted(found, key=lambda name: hashlib.blake2b(name.encode()).digest())
    return [(name, Path(found[name][0]), found[name][1]) for name in ordered]


def _share(name: str) -> float:
    digest = hashlib.blake2b(name.encode(), digest_size=8, person=b"split").digest()
    return int.from_bytes(digest, "little") / 2**64


def _read(path: Path, max_bytes: int) -> str | None:
    try:
        if not 0 < path.stat().st_size <= max_bytes:
            return None
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except (
        OSError,
        UnicodeDecodeError,
    ):  # an unreadable file of someone's package is not our user's error
        return None


def parse(text: str) -> ast.Module | None:
    """Syntax tree of a module; None for what this Python does not understand."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old packages hold invalid escapes
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _licences() -> dict[str, str]:
    """Licence by top-level file or folder of the installed packages; the rest is Python's own."""
    found: dict[str, str] = {}
    for package in importlib.metadata.distributions():
        licence = _licence(package.metadata)
        if licence is None:
            continue
        record = package.read_text("RECORD") or ""
        tops = {line.split(",", 1)[0].split("/", 1)[0] for line in record.splitlines()}
        tops.update((package.read_text("top_level.txt") or "").split())
        found.update(dict.fromkeys(tops, licence))
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    for item in stdlib.iterdir():
        found.setdefault(item.name, "PSF-2.0")
    return found


def _licence(metadata: importlib.metadata.PackageMetadata) -> str | None:
    fields = metadata.json
    expression = fields.get("license_expression")
    if expression:
        return str(expression)
    classifiers = [c for c in fields.get("classifier", []) if c.startswith("License ::")]
    if classifiers:
        return classifiers[0].rsplit("::", 1)[-1].strip()
    text = str(fields.get("license") or "").strip()
    return text if 0 < len(text) <= 80 and "\n" not in text else None
