"""Rows of JSON lines files: reading them in bounded memory, and going on where a kill struck."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nautiloid.core.errors import InputError
from nautiloid.core.files import read_json, write_json
from nautiloid.data.files import chunks


def lines_of(path: Path, most_bytes: int) -> Iterator[bytes | None]:
    """The lines that are not blank; None for one that is too long, of which no more is kept."""
    held = b""
    is_long = False
    for chunk in chunks(path):
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            if is_long or len(held) + len(piece) > most_bytes:
                yield None
            elif (held + piece).strip():
                yield held + piece
            held, is_long = b"", False
        is_long = is_long or len(held) + len(rest) > most_bytes
        held = b"" if is_long else held + rest
    if is_long:
        yield None
    elif held.strip():
        yield held


def survey(path: Path) -> tuple[str, int]:
    """Checksum of the content and number of lines that are not blank."""
    if not path.is_file():
        raise InputError(str(path), "no such file", "name a JSON lines file")
    digest, count, is_blank = hashlib.sha256(), 0, True
    for chunk in chunks(path):
        digest.update(chunk)
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            count += not (is_blank and not piece.strip())
            is_blank = True
        is_blank = is_blank and not rest.strip()
    return digest.hexdigest(), count + (not is_blank)


def settings_of(part: Path) -> Path:
    """Where the settings of an unfinished output are kept."""
    return part.with_name(f"{part.name}.json")


def begin(output: Path, part: Path, facts: Mapping[str, Any]) -> int:
    """Number of rows that a former run has written; makes the files of a new one."""
    if output.exists():
        raise InputError(str(output), "exists", "remove it or name another file")
    beside = settings_of(part)
    if not part.exists():
        write_json(beside, dict(facts))
        part.touch()
        return 0
    former = read_json(beside) if beside.exists() else {}
    for name, value in facts.items():
        if former.get(name) != value:
            remedy = f"was begun with another {name}; remove it or use the same"
            raise InputError(str(part), None, remedy)
    rows, size, end = 0, 0, 0
    for chunk in chunks(part):
        rows += chunk.count(b"\n")
        if b"\n" in chunk:
            end = size + chunk.rindex(b"\n") + 1
        size += len(chunk)
    if end < size:  # a kill tore the last line
        os.truncate(part, end)
    return rows
