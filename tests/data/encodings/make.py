"""Draws the formulas of the encoding pages: candidates by seed, from installed packages.

    python make.py > candidates.json && npm install katex@0.19.1 mathjax-full@3.2.2 && node make.mjs

Half come from sympy (expected TeX of its LaTeX printer tests, formulas of its docstrings), half from
the docstrings of scipy and numpy. `make.mjs` takes the first 60 that both KaTeX and MathJax accept:
20 for development, 40 that are counted.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

SEED = 20261122
COUNT = 300
# Shorter ones say little, longer ones are whole derivations.
LENGTHS = range(18, 260)


def strings(path: Path):
    """String constants of a Python file, docstrings included, in order of the file."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def documented(root: Path) -> list[str]:
    """Formulas of reST docstrings below `root`: `:math:` roles and `.. math::` blocks."""
    found: list[str] = []
    for path in sorted(root.rglob("*.py")):
        if "tests" in path.parts:
            continue
        for text in strings(path):
            if ":math:`" not in text and ".. math::" not in text:
                continue
            found += (" ".join(tex.split()) for tex in re.findall(r":math:`([^`<]+)`", text))
            for block in re.split(r"\.\. math::", text)[1:]:
                body = re.match(r"[ \t]*([^\n]*)\n((?:[ \t]*\n)?(?:[ \t]+[^\n]+\n?)*)", block)
                if body:
                    tex = " ".join((body[1] + "\n" + body[2].partition("\n\n")[0]).split())
                    found.append(tex.rstrip(".,"))
    return found


def printed(root: Path) -> list[str]:
    """What the tests of sympy's LaTeX printer expect."""
    return [
        text for text in strings(root / "printing" / "tests" / "test_latex.py") if "\n" not in text
    ]


def usable(tex: str) -> bool:
    """ASCII, of a length worth a test, with a command or a script, without delimiters or markup of reST."""
    if len(tex) not in LENGTHS or not tex.isascii() or not re.search(r"\\[A-Za-z]|[\^_]", tex):
        return False
    if any(
        mark in tex for mark in ("$", "==", "`", ":label:", ":nowrap:", "::", "%", "&&", "\\label")
    ):
        return False
    # Prose of the docstring that ran into the formula.
    if re.search(
        r"(?<![\\A-Za-z])[A-Za-z]{2,} [A-Za-z]{2,}", re.sub(r"\\(text|mathrm)\{[^}]*\}", "", tex)
    ):
        return False
    return tex.count("{") == tex.count("}") and not tex.startswith(("\\[", "\\("))


def rank(tex: str) -> str:
    """Place of a formula in the draw."""
    return hashlib.sha256(f"{SEED} {tex}".encode()).hexdigest()


def main() -> None:
    """Prints the candidates."""
    roots = {
        name: Path(import_module(name).__file__).parent for name in ("sympy", "scipy", "numpy")
    }
    halves = (
        printed(roots["sympy"]) + documented(roots["sympy"]),
        documented(roots["scipy"]) + documented(roots["numpy"]),
    )
    drawn: list[list[str]] = []
    for half in halves:
        # Ranks by hash: what is refused later does not change the order of the others.
        pool = {tex.strip() for tex in half if usable(tex.strip())}
        drawn.append(sorted(pool, key=rank)[:COUNT])
    candidates = [tex for pair in zip(*drawn, strict=True) for tex in pair]
    source = {name: version(name) for name in roots}
    json.dump({"seed": SEED, "source": source, "candidates": candidates}, sys.stdout, indent=0)


if __name__ == "__main__":
    main()
