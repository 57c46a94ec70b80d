r"""Braces of a normalised formula: which of them show nothing."""

from __future__ import annotations

import re

from nautiloid.curate.math.normal.tokens import TOKEN

_COMMAND = re.compile(r"\\(?:[A-Za-z]+|.)")
_PAIRS = {
    "(": ")",
    "[": "]",
    r"\{": r"\}",
    r"\langle": r"\rangle",
    r"\lfloor": r"\rfloor",
    r"\lceil": r"\rceil",
    "|": "|",
    r"\|": r"\|",
}


def unbraced(tex: str) -> str:
    """TeX without braces around all of it."""
    return tex[1:-1] if tex.startswith("{") and tex.endswith("}") and _closes(tex) else tex


def is_single(tex: str) -> bool:
    """Whether TeX is one letter, or one command with at most one argument."""
    return (
        len(tex) == 1
        or _COMMAND.fullmatch(tex) is not None
        or (tex.startswith("\\") and tex.endswith("}") and _closes(tex))
    )


def _closes(command: str) -> bool:
    """Whether the first brace of a command ends at its last character."""
    depth = 0
    for index, char in enumerate(command):
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return index == len(command) - 1
    return False


def is_fenced(tex: str) -> bool:
    """Whether one pair of brackets holds the whole group."""
    tokens = TOKEN.findall(tex)
    if len(tokens) < 2 or _PAIRS.get(tokens[0]) != tokens[-1]:
        return False
    if tokens[0] == tokens[-1]:
        return tokens.count(tokens[0]) == 2
    depth = 0
    for index, token in enumerate(tokens):
        if token == tokens[0]:
            depth += 1
        elif token == tokens[-1]:
            depth -= 1
            if depth == 0:
                return index == len(tokens) - 1
    return False
