"""Files of an input in a fixed order with names that do not depend on where the input lies."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nautiloid.core.errors import InputError
from nautiloid.curate.reader import Unit

UNIT_BYTES = 48 << 20
"""Large files are split to units of about this size."""
GROUP_BYTES = 8 << 20
"""Small files are gathered to units of about this size: pages of their own are not compressed."""
GROUP_FILES = 2000


@dataclass(frozen=True, slots=True)
class Entry:
    """One file.

    Args:
        name: Path relative to the input, `/` between parts; unique in the input.
        path: Where it is.
        size_bytes: Size when it was listed.
    """

    name: str
    path: str
    size_bytes: int


@lru_cache(maxsize=8)
def listing(
    patterns: tuple[str, ...], suffixes: tuple[str, ...], skip: tuple[str, ...] = ()
) -> tuple[Entry, ...]:
    """Files named by paths, folders and globs, sorted by name.

    Links to folders are not followed, so a loop is harmless; hidden files, and whatever is no
    regular file, are left out. A file that is named itself is taken whatever its ending.

    Args:
        patterns: Files, folders and globs.
        suffixes: Endings of the files of folders, lower case.
        skip: Endings of files that are left out, also when they are named.

    Raises:
        InputError: No pattern is given, or one matches no file.
    """
    if not patterns:
        raise InputError("reader.paths", None, "name at least one file, folder or glob")
    found: dict[str, Entry] = {}
    for number, pattern in enumerate(patterns):
        entries = _matches(pattern, (*suffixes, *skip))
        if not entries:
            what = "no such file or folder"
            if os.path.isdir(os.path.expanduser(pattern)):
                what = f"holds no file ending in {' or '.join(suffixes)}"
            raise InputError(pattern, what, "correct the path in reader.paths")
        prefix = f"{Path(pattern).name or number}/" if len(patterns) > 1 else ""
        if len(patterns) > 1 and any(prefix + name in found for name, _ in entries):
            prefix = f"{number}-{prefix}"
        for name, path in entries:
            if skip and path.lower().endswith(skip):
                continue
            found[prefix + name] = Entry(prefix + name, path, _size(path))
    return tuple(found[name] for name in sorted(found))


def fresh_listing(
    patterns: tuple[str, ...], suffixes: tuple[str, ...], skip: tuple[str, ...] = ()
) -> tuple[Entry, ...]:
    """The listing as of now: files may have come since it was last asked for."""
    listing.cache_clear()
    return listing(patterns, suffixes, skip)


def _matches(pattern: str, suffixes: tuple[str, ...]) -> list[tuple[str, str]]:
    """Names and paths of the files of one pattern."""
    path = os.path.expanduser(pattern)
    if os.path.isdir(path):
        return [(_name(p, path), p) for p in _walk(path) if p.lower().endswith(suffixes)]
    if os.path.lexists(path):
        return [(_safe(os.path.basename(path)), path)]
    wild = re.search(r"[*?\[]", path)
    if wild is None:
        return []
    root = os.path.dirname(path[: wild.start()]) or "."
    rest = path[len(root) :].lstrip("/") if path.startswith(root) else path
    found: dict[str, str] = {}
    for match in Path(root).glob(rest):
        files = _walk(str(match)) if match.is_dir() else [str(match)]
        for file in files:
            if (file == str(match) or file.lower().endswith(suffixes)) and _is_file(file):
                found[_name(file, root)] = file
    return list(found.items())


def _walk(root: str) -> list[str]:
    found: list[str] = []
    for folder, folders, files in os.walk(root, onerror=_refuse, followlinks=False):
        folders[:] = [f for f in folders if not f.startswith(".")]
        paths = (os.path.join(folder, f) for f in files if not f.startswith("."))
        found.extend(p for p in paths if _is_file(p))
    return found


def _refuse(error: OSError) -> None:
    # a folder left out without a word would be a corpus with a hole
    remedy = "grant access to it, or name the folders beside it"
    raise InputError(str(error.filename), error.strerror or str(error), remedy) from None


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _name(path: str, root: str) -> str:
    return _safe(os.path.relpath(path, root).replace(os.sep, "/"))


def _safe(name: str) -> str:
    """Names hold any bytes; ids and logs hold printable text."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def split(
    entries: Sequence[Entry], can_split: Callable[[Entry], bool], unit_bytes: int = UNIT_BYTES
) -> list[Unit]:
    """Units of single files; large ones are cut into ranges of bytes where that is possible."""
    units: list[Unit] = []
    for entry in entries:
        parts = -(-entry.size_bytes // unit_bytes)
        if parts < 2 or not can_split(entry):
            units.append(Unit(entry.name, entry.path, 0, None, entry.size_bytes))
            continue
        step = -(-entry.size_bytes // parts)
        for start in range(0, entry.size_bytes, step):
            stop = min(start + step, entry.size_bytes)
            name = f"{entry.name}:{start:015d}"
            last = None if stop == entry.size_bytes else stop
            units.append(Unit(name, entry.path, start, last, stop - start))
    return units


def gather(
    entries: Sequence[Entry], unit_bytes: int = GROUP_BYTES, unit_files: int = GROUP_FILES
) -> list[Unit]:
    """Units of many small files: `start` and `stop` count entries of the listing."""
    units: list[Unit] = []
    start = 0
    size = 0
    for index, entry in enumerate(entries):
        if index > start and (size + entry.size_bytes > unit_bytes or index - start >= unit_files):
            units.append(_group(entries, start, index, size))
            start, size = index, 0
        size += entry.size_bytes
    if entries:
        units.append(_group(entries, start, len(entries), size))
    return units


def gathered(unit: Unit, entries: Sequence[Entry]) -> Sequence[Entry]:
    """The files of a unit of `gather`.

    Raises:
        InputError: Files came or went since the units were made.
    """
    found = entries[unit.start : unit.stop]
    if not found or unit.name != _group(entries, unit.start, unit.stop or 0, 0).name:
        remedy = "leave the input as it is while a run works on it, or start a new run"
        raise InputError(unit.name, "the files of the input have changed", remedy)
    return found


def _group(entries: Sequence[Entry], start: int, stop: int, size: int) -> Unit:
    name = f"{entries[start].name}:{start:09d}+{stop - start}"
    return Unit(name, entries[start].path, start, stop, size)


def file_name(unit: Unit) -> str:
    """Name of the file a unit of `split` is in."""
    if unit.start == 0 and unit.stop is None:
        return unit.name
    return unit.name.rpartition(":")[0]
