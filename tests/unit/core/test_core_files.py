"""Files are whole or absent, and damage is named."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nautiloid.core import files
from nautiloid.core.errors import InputError


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a.txt", "old")

    def half_written() -> None:
        with files.atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("new, but ha")
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        half_written()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_replaces_the_old_one_in_whole(tmp_path: Path) -> None:
    for text in ("one", "two"):
        with files.atomic_path(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / f"{text}.txt").write_text(text)
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["two.txt"]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    with files.atomic_path(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "a").write_text("a")

    def half_written() -> None:
        with files.atomic_path(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / "b").write_text("b")
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        half_written()
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["a"]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOSPC, r"disk full: \d+ MB are free; make room"),
        (errno.EDQUOT, r"disk full: \d+ MB are free; make room"),
        (errno.EACCES, "not writable: choose a folder you may write to"),
        (errno.EROFS, "not writable: choose a folder you may write to"),
    ],
)
def test_a_place_that_takes_nothing_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, says: str
) -> None:
    def refuse(self: Path, text: str, encoding: str | None = None) -> int:
        with self.open("w") as handle:
            handle.write(text[:3])
        raise OSError(code, os.strerror(code), str(self))

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(InputError, match=says) as caught:
        files.write_json(tmp_path / "sub" / "a.json", {"x": 1})
    assert str(tmp_path / "sub" / "a.json") in str(caught.value)
    assert names(tmp_path / "sub") == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process")
def test_a_write_that_the_system_cuts_leaves_nothing(tmp_path: Path) -> None:
    """The size limit of a process stands for a disk that fills in the middle of a write."""
    program = f"""
import resource, signal
from pathlib import Path
from nautiloid.core import files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    files.write_text(Path({str(tmp_path)!r}) / "big.txt", "x" * 5000)
except OSError as error:
    print(type(error).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "OSError"
    assert names(tmp_path) == []


def test_json_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.json: no such file"):
        files.read_json(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"a": ')
    with pytest.raises(InputError, match=r"bad.json: not valid JSON"):
        files.read_json(tmp_path / "bad.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary.json: not valid JSON"):
        files.read_json(tmp_path / "binary.json")
    with pytest.raises(InputError, match="cannot be read"):
        files.read_json(tmp_path)


def test_json_is_readable_and_ends_with_a_newline(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"b": [1, 2]})
    text = (tmp_path / "a.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text) == {"b": [1, 2]}


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    folder = tmp_path / "sealed"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"0123456789")
    (folder / "sub" / "b.txt").write_text("text")
    files.write_manifest(folder, step=7)
    return folder


def test_a_whole_folder_passes(sealed: Path) -> None:
    manifest = files.verify_manifest(sealed)
    assert manifest["step"] == 7
    assert sorted(manifest["files"]) == ["a.bin", "sub/b.txt"]


def test_damage_is_named(sealed: Path) -> None:
    (sealed / "a.bin").write_bytes(b"0123456780")
    with pytest.raises(InputError, match=r"a.bin: wrong checksum"):
        files.verify_manifest(sealed)
    (sealed / "a.bin").write_bytes(b"01234")
    with pytest.raises(InputError, match=r"a.bin: 5 bytes instead of 10"):
        files.verify_manifest(sealed)
    (sealed / "a.bin").unlink()
    with pytest.raises(InputError, match=r"a.bin: missing"):
        files.verify_manifest(sealed)
    (sealed / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"manifest.json: no such file"):
        files.verify_manifest(sealed)


def test_no_damaged_byte_of_a_manifest_passes_for_a_shorter_list(sealed):
    path = sealed / "manifest.json"
    whole = path.read_bytes()
    expected = files.verify_manifest(sealed)["files"]
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            found = files.verify_manifest(sealed)
        except InputError:
            continue
        assert found["files"] == expected, at
