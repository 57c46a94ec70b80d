r"""Rows of a normalised formula: atoms side by side."""

from __future__ import annotations

import re

from nautiloid.curate.math.symbols import FUNCTIONS
from nautiloid.curate.math.symbols import joined as side_by_side

# A font command around letters, in front of scripts; one with nothing behind it.
_RUN = re.compile(r"(\\math[a-z]+|\\boldsymbol)\{((?:\\[A-Za-z]++|[^{}\\])++)\}")
_WHOLE = re.compile(r"(?:\\math[a-z]+|\\boldsymbol)\{[^{}]+\}")


def joined(atoms: list[str]) -> str:
    """Atoms side by side; neighbours of one font in one command, scripts behind the last."""
    out: list[str] = []
    # Letters of one font that more may follow, and the font, "" for none.
    letters: list[str] = []
    font = ""
    for atom in atoms:
        match = _RUN.match(atom)
        if match is not None and match[1] == font:
            letters.append(match[2])
            rest = atom[match.end(2) :]
            if rest != "}":
                out.append(f"{font}{{{''.join(letters)}{rest}")
                font = ""
        elif atom:
            if font:
                out.append(f"{font}{{{''.join(letters)}}}")
            font = ""
            if _WHOLE.fullmatch(atom):
                font, _, inner = atom[:-1].partition("{")
                letters = [inner]
            else:
                out.append(atom)
    if font:
        out.append(f"{font}{{{''.join(letters)}}}")
    return side_by_side(_word(atom) if atom.startswith("\\mathrm{") else atom for atom in out)


def _word(atom: str) -> str:
    """Upright letters that TeX has a command for, as that command."""
    end = atom.find("}")
    name = atom[8:end]
    return f"\\{name}{atom[end + 1 :]}" if name in FUNCTIONS else atom
