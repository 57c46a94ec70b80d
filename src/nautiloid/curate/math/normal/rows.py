r"""Rows of a normalised formula: atoms side by side."""

from __future__ import annotations

import re

from nautiloid.curate.math.symbols import FUNCTIONS, join

# A font command around letters, in front of scripts; one with nothing behind it.
_RUN = re.compile(r"(\\math[a-z]+|\\boldsymbol)\{((?:\\[A-Za-z]+|[^{}\\])+)\}")
_WHOLE = re.compile(r"(?:\\math[a-z]+|\\boldsymbol)\{[^{}]+\}")


def joined(atoms: list[str]) -> str:
    """Atoms side by side; neighbours of one font in one command, scripts behind the last."""
    out: list[str] = []
    for atom in atoms:
        match = _RUN.match(atom)
        if (
            match is not None
            and out
            and out[-1].startswith(match[1] + "{")
            and _WHOLE.fullmatch(out[-1])
        ):
            out[-1] = out[-1][:-1] + match[2] + atom[match.end(2) :]
        elif atom:
            out.append(atom)
    tex = ""
    for atom in out:
        tex = join(tex, _word(atom) if atom.startswith("\\mathrm{") else atom)
    return tex


def _word(atom: str) -> str:
    """Upright letters that TeX has a command for, as that command."""
    end = atom.find("}")
    name = atom[8:end]
    return f"\\{name}{atom[end + 1 :]}" if name in FUNCTIONS else atom
