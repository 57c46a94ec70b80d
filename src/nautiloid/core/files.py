"""Files that are either whole or absent: atomic writes, checksums, manifests."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

from nautiloid.core.errors import InputError

MANIFEST = "manifest.json"


def _explain(error: OSError, path: Path) -> InputError | None:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(_existing(path)).free
        return InputError(
            str(path), "disk full", f"{free / 1e6:.0f} MB are free; make room and run again"
        )
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return InputError(str(path), "not writable", "choose a folder you may write to")
    return None


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Generator[Path, None, None]:
    """Yield a temporary sibling to write (file or folder), then move it to `path` in one step.

    Nothing stays behind when the body raises. An existing folder at `path` is replaced.

    Raises:
        InputError: The disk is full or the place is not writable.
    """
    final = Path(path)
    temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if temporary.is_dir():
            for item in sorted(temporary.rglob("*")):
                if item.is_file():
                    _sync(item)
            _sync(temporary)
            if final.exists():
                old = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.old")
                final.rename(old)
                temporary.rename(final)
                shutil.rmtree(old)
            else:
                temporary.rename(final)
        else:
            _sync(temporary)
            temporary.replace(final)
        _sync(final.parent)
    except OSError as error:
        explained = _explain(error, final)
        if explained is None:
            raise
        raise explained from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write JSON atomically, readable and with a final newline."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read JSON.

    Raises:
        InputError: The file is missing, unreadable or not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(str(path), None, "no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            str(path), None, f"not valid JSON ({error}); restore or remake it"
        ) from None
    except OSError as error:
        raise InputError(str(path), None, f"cannot be read ({error.strerror})") from None


def sha256(path: str | os.PathLike[str]) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_manifest(folder: str | os.PathLike[str], **facts: Any) -> None:
    """Record size and checksum of every file below `folder`, and the given facts, in its manifest."""
    folder = Path(folder)
    files = {
        item.relative_to(folder).as_posix(): {"bytes": item.stat().st_size, "sha256": sha256(item)}
        for item in sorted(folder.rglob("*"))
        if item.is_file() and item.name != MANIFEST
    }
    write_json(folder / MANIFEST, {**facts, "files": files})


def verify_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Check every file of the manifest and return the manifest.

    Raises:
        InputError: A file is missing, has another size or another checksum, or the manifest itself
            is damaged.
    """
    folder = Path(folder)
    manifest = read_json(folder / MANIFEST)
    for name, (size, digest) in _listed(manifest, folder / MANIFEST).items():
        item = folder / name
        if not item.is_file():
            raise InputError(str(item), "missing", "the folder is torn; use another checkpoint")
        found = item.stat().st_size
        if found != size:
            raise InputError(
                str(item),
                f"{found} bytes instead of {size}",
                "the file is torn; use another checkpoint",
            )
        if sha256(item) != digest:
            raise InputError(
                str(item), "wrong checksum", "the file is damaged; use another checkpoint"
            )
    return cast(dict[str, Any], manifest)


def _listed(manifest: Any, path: Path) -> dict[str, tuple[int, str]]:
    """Size and checksum of each file; a damaged list must not pass for an empty one."""
    damaged = InputError(str(path), None, "the manifest is damaged; use another checkpoint")
    files = cast(dict[str, Any], manifest).get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict):
        raise damaged
    listed: dict[str, tuple[int, str]] = {}
    for name, entry in cast(dict[str, Any], files).items():
        facts = cast(dict[str, Any], entry) if isinstance(entry, dict) else {}
        size, digest = facts.get("bytes"), facts.get("sha256")
        if not isinstance(size, int) or not isinstance(digest, str):
            raise damaged
        listed[name] = (size, digest)
    return listed
