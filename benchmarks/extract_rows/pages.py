"""Documentation pages of Debian packages: fetched, unpacked, and drawn by seed."""

from __future__ import annotations

import random
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Outputs of these were read while the extractor was written; the others when it had been measured.
DEVELOPMENT = (
    "ceres-solver-doc",
    "geographiclib-doc",
    "libeigen3-doc",
    "gap-doc",
    "giac-doc",
    "libflint-doc",
    "libitpp-doc",
    "macaulay2-common",
    "nlopt-doc",
    "petsc3.18-doc",
    "python-astropy-doc",
    "python-scipy-doc",
    "python-sklearn-doc",
    "python-statsmodels-doc",
    "python-sympy-doc",
    "python3.11-doc",
    "rust-doc",
    "sagemath-doc",
    "singular-doc",
)
HELD_OUT = (
    "anarchism",
    "axiom-doc",
    "debian-handbook",
    "libdune-istl-doc",
    "postgresql-doc-15",
    "python-cvxopt-doc",
    "python-mpmath-doc",
    "python-qutip-doc",
    "yade-doc",
)
# First measured when all of the above had been read; see `extract.py`.
BLIND = (
    "libgudhi-doc",
    "libigraph-doc",
    "libppl-doc",
    "python-lmfit-doc",
    "python-mdanalysis-doc",
    "python-pyfai-doc",
)

MATH = re.compile(
    rb'class="(?:[^"]* )?math[ "]|formulaInl|formulaDsp|\\\(|\\\[|<math|class="math"|auto-render|\$\$'
)
SMALLEST, LARGEST = 1_500, 400_000
# Pages of one package are drawn from this many at most.
TRIED = 2_000


@dataclass(frozen=True)
class Sample:
    """One page: where it is from and its source as stored."""

    package: str
    path: str
    content: bytes

    @property
    def html(self) -> str:
        """The source; all of these packages are UTF-8."""
        return self.content.decode("utf-8", "replace")


def fetch(package: str, folder: Path) -> Path | None:
    """Folder of the unpacked package, downloaded when it is missing; None when it cannot be had."""
    unpacked = folder / package
    if unpacked.is_dir():
        return unpacked
    folder.mkdir(parents=True, exist_ok=True)
    got = subprocess.run(
        ["apt-get", "download", package], cwd=folder, capture_output=True, check=False
    )
    archives = sorted(folder.glob(f"{package}_*.deb"))
    if got.returncode or not archives:
        return None
    subprocess.run(["dpkg-deb", "-x", archives[-1], unpacked], check=True)
    return unpacked


def draw(package: str, folder: Path, count: int, seed: int) -> list[Sample]:
    """Pages of a package: three quarters with mathematics where there are that many, the rest any."""
    files = sorted(
        path
        for suffix in ("html", "htm", "xhtml")
        for path in folder.rglob(f"*.{suffix}")
        if path.is_file() and not path.is_symlink()
    )
    random.Random(f"{seed}/{package}").shuffle(files)
    with_math: list[Sample] = []
    others: list[Sample] = []
    wanted = count * 3 // 4
    for path in files[:TRIED]:
        content = path.read_bytes()
        # A page of another encoding, a redirect and a whole book in one file say little.
        if not SMALLEST < len(content) < LARGEST or b'http-equiv="refresh' in content.lower():
            continue
        sample = Sample(package, str(path.relative_to(folder)), content)
        if MATH.search(content) and len(with_math) < wanted:
            with_math.append(sample)
        elif len(others) < count:
            others.append(sample)
        if len(with_math) == wanted and len(others) >= count - wanted:
            break
    return with_math + others[: count - len(with_math)]
