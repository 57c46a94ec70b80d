"""Finding the files of a source and reading them, plain or compressed, in bounded memory."""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nautiloid.core.errors import InputError

COMPRESSION = {".zst": "zstd", ".gz": "gzip"}
CHUNK_BYTES = 1 << 20


def find(patterns: Sequence[str], suffixes: Sequence[str] = ()) -> list[Path]:
    """Files named by paths, folders and globs, sorted within each pattern, each once.

    Args:
        patterns: A folder stands for every file of the given suffixes below it.
        suffixes: Endings such as `.jsonl` to look for in folders; all files when empty.

    Raises:
        InputError: No pattern is given, or one matches no file.
    """
    if not patterns:
        raise InputError("source.paths", None, "name at least one file, folder or glob")
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern).expanduser()
        if path.is_dir():
            matches = [p for p in path.rglob("*") if _is_wanted(p.relative_to(path), p, suffixes)]
        elif path.is_file():
            matches = [path]
        else:
            matches = [Path(m) for m in glob.glob(str(path), recursive=True) if Path(m).is_file()]
        if not matches:
            what = (
                f"holds no file ending in {' or '.join(suffixes)}"
                if path.is_dir()
                else "no such file"
            )
            raise InputError(pattern, what, "correct the path in source.paths")
        found.update(dict.fromkeys(sorted(matches)))
    return list(found)


def _is_wanted(relative: Path, path: Path, suffixes: Sequence[str]) -> bool:
    is_hidden = any(part.startswith(".") for part in relative.parts)
    return (
        not is_hidden and path.is_file() and (not suffixes or path.name.endswith(tuple(suffixes)))
    )


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Any]:
    """Open a file for reading bytes, decompressing `.zst` and `.gz` piece by piece.

    Raises:
        InputError: The file cannot be opened, or is truncated or corrupt (also inside the body).
    """
    try:
        if path.suffix in COMPRESSION:
            import pyarrow as pa

            # pyarrow, unlike zstandard's reader, reports a stream that ends in the middle of a frame
            with pa.input_stream(str(path), compression=COMPRESSION[path.suffix]) as stream:
                yield stream
        else:
            with path.open("rb") as stream:
                yield stream
    except OSError as error:
        what = error.strerror or " ".join(str(error).split())
        raise InputError(
            str(path), f"cannot be read ({what})", "restore or remove the file"
        ) from None


def chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file in pieces of at most one mebibyte."""
    with reading(path) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


def pieces(path: Path, separator: bytes, max_bytes: int) -> Iterator[bytes]:
    """The parts of a file between separators, without them.

    Raises:
        InputError: A part is longer than `max_bytes`.
    """
    rest = b""
    number = 0
    for chunk in chunks(path):
        *whole, rest = (rest + chunk).split(separator)
        for part in whole:
            number += 1
            _check_size(path, number, len(part), max_bytes)
            yield part
        _check_size(path, number + 1, len(rest), max_bytes)
    if rest:
        yield rest


def _check_size(path: Path, number: int, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise InputError(
            f"{path}:{number}",
            f"over {max_bytes} bytes",
            "remove the record or raise the byte limit of the source",
        )


def decode(data: bytes, where: str) -> str:
    """Decode UTF-8, dropping a byte order mark.

    Raises:
        InputError: Not UTF-8; names the byte.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            where, f"not UTF-8 at byte {error.start}", "convert the file to UTF-8"
        ) from None
