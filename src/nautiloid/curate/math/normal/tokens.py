"""Tokens of TeX under their common names, those that do not show left out."""

from __future__ import annotations

import re
from functools import cache, lru_cache

from nautiloid.curate.math.normal.names import BEFORE_CENTRED, RENAMED, UNSEEN
from nautiloid.curate.math.symbols import char_tex, tables

TOKEN = re.compile(r"\\[A-Za-z]+\*?|\\.|\s+|.", re.DOTALL)


def split(tex: str) -> list[str]:
    """Commands and characters of TeX without white space."""
    return [token for token in TOKEN.findall(tex) if not token.isspace()]


def renamed(tokens: list[str]) -> list[str]:
    """Tokens under their common names, those that do not show left out."""
    synonyms = tables()[1]
    out: list[str] = []
    index = 0
    while index < len(tokens):
        token = tokens[index]
        index += 1
        if token in (r"\left", r"\right") and index < len(tokens) and tokens[index] == ".":
            index += 1
            continue
        if token == r"\dots":
            token = (
                r"\cdots"
                if index < len(tokens) and _canonical(tokens[index]) in BEFORE_CENTRED
                else r"\ldots"
            )
        if token in UNSEEN:
            continue
        if token[0] == "\\" and len(token) > 1:
            name = token[1:]
            if token in RENAMED:
                token = RENAMED[token]
            elif name in synonyms:
                out += _parts(synonyms[name])
                continue
        elif not token.isascii():
            out += _parts(char_tex(token))
            continue
        out.append(token)
    return out


# Bounded: a page may name any command.
@lru_cache(maxsize=1024)
def _canonical(token: str) -> str:
    token = RENAMED.get(token, token)
    return tables()[1].get(token[1:], token) if token[0] == "\\" else char_tex(token)


@cache
def _parts(tex: str) -> tuple[str, ...]:
    return tuple(split(tex))
