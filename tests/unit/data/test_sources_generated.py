# pyright: reportArgumentType=false, reportCallIssue=false, reportOptionalIterable=false
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false

import ast
import sys
from itertools import islice

import pytest
from tests.suites.sources import check_source

from nautiloid.core.errors import InputError
from nautiloid.data.sources import python_install
from nautiloid.data.sources.environment import EnvironmentSource
from nautiloid.data.sources.python_install import PythonInstall, docstrings
from nautiloid.envs.sums import Sums

CODE = '''"""About the module."""
import os

class A(os.PathLike):
    """A thing.

        Indented.
    """
    def f(self, x: int = 1, *rest):
        """Does f."""
    class B:
        async def g(self):
            """Does g."""

def undocumented(): pass
'''


def test_python_install():
    samples = list(PythonInstall(max_documents=40).read())
    assert len(samples) == 40
    assert {s.meta["part"] for s in samples} == {"docstrings", "sources"}
    assert all(len(s.text) >= 200 for s in samples)
    for sample in samples:
        if sample.meta["part"] == "docstrings":
            assert sample.text.startswith(f"# {sample.meta['module']}\n")
        else:
            ast.parse(sample.text)


def test_python_install_limits():
    samples = list(PythonInstall(max_bytes=300_000, which=("docstrings",), min_chars=500).read())
    size = sum(len(s.text.encode()) for s in samples)
    assert 150_000 < size <= 300_000
    assert all(len(s.text) >= 500 for s in samples)
    with pytest.raises(InputError, match=r"source\.which"):
        PythonInstall(which=())
    with pytest.raises(InputError, match=r"source\.test_share"):
        PythonInstall(test_share=1.0)


def test_python_install_tree(tmp_path, monkeypatch):
    lib, site = tmp_path / "lib", tmp_path / "lib" / "site-packages"
    (lib / "pkg" / "tests").mkdir(parents=True)
    (site / "other").mkdir(parents=True)
    (site / "other-1.0.dist-info").mkdir()
    (site / "other-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: other\nVersion: 1.0\nLicense-Expression: MIT\n"
    )
    (site / "other-1.0.dist-info" / "RECORD").write_text("other/__init__.py,,\n")
    (lib / "pkg" / "__init__.py").write_text("'pkg'\n")
    (lib / "pkg" / "good.py").write_bytes(CODE.replace("\n", "\r\n").encode())
    (lib / "pkg" / "copy.py").write_text(CODE)
    (lib / "pkg" / "python2.py").write_text("print 'x'\n")
    (lib / "pkg" / "latin.py").write_bytes(b"'\xe9'\n")
    (lib / "pkg" / "deep.py").write_text("(" * 5000)
    (lib / "pkg" / "huge.py").write_text("x = 1\n" * 100)
    (lib / "pkg" / "tests" / "test_x.py").write_text("'test'\n")
    (site / "other" / "__init__.py").write_text("'other \\d'\n")
    paths = {"stdlib": str(lib), "purelib": str(site), "platlib": str(site)}
    monkeypatch.setattr(python_install.sysconfig, "get_paths", lambda: paths)
    monkeypatch.setattr(sys, "path", [str(lib), str(site)])
    source = PythonInstall(split="all", min_chars=1, max_file_bytes=500, which=("docstrings",))
    samples = {s.meta["module"]: s for s in check_source(source)}
    assert len(samples) == 3
    assert samples["other"].licence == "MIT"
    assert samples["pkg"].licence == "PSF-2.0"
    assert {"pkg.good", "pkg.copy"} & set(samples)
    assert samples["pkg"].text == "# pkg\n\npkg\n"


def test_python_install_split():
    def modules(split):
        source = PythonInstall(split=split, test_share=0.5, which=("sources",), max_documents=20)
        return {s.meta["module"] for s in source.read()}

    train, test = modules("train"), modules("test")
    assert len(train) == len(test) == 20
    assert not train & test


def test_docstrings():
    assert docstrings("pkg.m", ast.parse(CODE)) == (
        "# pkg.m\n\nAbout the module.\n\n## A\n\nA thing.\n\nIndented.\n\n"
        "### A.f(self, x: int=1, *rest)\n\nDoes f.\n\n### A.B.g(self)\n\nDoes g.\n"
    )
    assert docstrings("pkg.m", ast.parse("def f(): pass")) == ""


def test_environment_source():
    source = EnvironmentSource(
        environment=Sums(levels=(1, 2)),
        count=300,
        modes={"on": 2.0, "off": 1.0, "budget": 1.0},
        budget_tokens=(4, 9),
    )
    samples = check_source(source, limit=300)
    modes = [s.mode for s in samples]
    assert 110 < modes.count("on") < 190
    assert 45 < modes.count("off") < 105
    for sample in samples:
        answer = sample.messages[-1]
        assert answer.role == "assistant"
        assert (answer.reasoning is None) == (sample.mode == "off")
        assert (sample.budget_tokens is not None) == (sample.mode == "budget")
        assert sample.budget_tokens is None or 4 <= sample.budget_tokens <= 9
    other = EnvironmentSource(environment=Sums(levels=(1, 2)), count=300, seed=1)
    assert [s.id for s in islice(other.read(), 9)] != [s.id for s in samples[:9]]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"count": 0}, "source.count"),
        ({"modes": {"sometimes": 1.0}}, "source.modes"),
        ({"modes": {"on": -1.0}}, "source.modes.on"),
        ({"modes": {"on": 0.0}}, "source.modes"),
        ({"budget_tokens": (5, 4)}, "source.budget_tokens"),
    ],
)
def test_environment_source_settings(settings, field):
    with pytest.raises(InputError) as caught:
        EnvironmentSource(environment=Sums(), **settings)
    assert caught.value.field == field
