"""Classes found by the name of their file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nautiloid.core.errors import InputError
from nautiloid.core.registry import Registry

SHELLS = Registry("shell", "shells")
SHIPPED = """
from nautiloid.core.registry import Registry
shell = Registry("shell", "shells")
@shell("{name}")
class Shell:
    pass
"""


@pytest.fixture
def _packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "shells" / "deep").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    for path in ("shells", "shells/deep", "outside"):
        (tmp_path / path / "__init__.py").touch()
    (tmp_path / "shells" / "spiral.py").write_text(SHIPPED.format(name="spiral"))
    (tmp_path / "shells" / "empty.py").write_text("")
    (tmp_path / "shells" / "broken.py").write_text("import a_library_that_nobody_has")
    (tmp_path / "shells" / "deep" / "cone.py").write_text(SHIPPED.format(name="deep.cone"))
    (tmp_path / "outside" / "mine.py").write_text(SHIPPED.format(name="mine"))
    (tmp_path / "deep.py").write_text(
        "raise RuntimeError('a stray file of that name was imported')"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [m for m in sys.modules if m.split(".")[0] in ("shells", "outside", "deep")]:
        del sys.modules[name]


@pytest.mark.usefixtures("_packages")
def test_names_come_from_the_files() -> None:
    assert SHELLS.names() == ["broken", "deep", "empty", "spiral"]


@pytest.mark.usefixtures("_packages")
@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("spiral", "shells.spiral"),
        ("deep.cone", "shells.deep.cone"),
        ("outside.mine", "outside.mine"),
    ],
)
def test_a_class_is_found_and_knows_its_kind(name: str, module: str) -> None:
    found = SHELLS.get(name)
    assert found.__module__ == module
    assert found.__kind__ == name


@pytest.mark.usefixtures("_packages")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("spirl", "did you mean 'spiral'"),
        ("zzzzz", "use one of broken, deep, empty, spiral"),
        ("nowhere.mine", "use one of"),
        ("empty", "shells.empty defines no shell"),
        ("a b", "use one of"),
        ("", "use one of"),
    ],
)
def test_a_wrong_name_is_refused(name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        SHELLS.get(name)


@pytest.mark.usefixtures("_packages")
def test_a_missing_library_is_no_wrong_name() -> None:
    with pytest.raises(ModuleNotFoundError, match="a_library_that_nobody_has"):
        SHELLS.get("broken")
