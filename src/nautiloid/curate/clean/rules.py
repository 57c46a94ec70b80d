"""Cleaning by rules: characters, delimiters, boilerplate and blanks; what a document says stays."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from nautiloid.core.errors import InputError
from nautiloid.curate.clean.mojibake import repair
from nautiloid.curate.math.symbols import char_tex, join
from nautiloid.curate.text.spans import Span, protect

# Soft hyphen, zero-width and direction marks, byte order mark; controls but tab and line feed.
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u2060\ufeff\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_BLANKS = re.compile(r"(?<=\S)[ \t\u00a0\u2000-\u200a\u202f\u205f\u3000]+(?=\S)")
_HEADING = re.compile(r"(#{1,6})(?:\s+(.*))?$")
_BEYOND_ASCII = re.compile(r"([^\x00-\x7f]+)([A-Za-z]?)")
_CODE_LIKE = re.compile(r"[()<>=_{}\[\]`\\]")
_READABLE = re.compile(r"[^\W_]|\|")
_STRUCTURE = re.compile(r"\s*(?:#{1,6}\s|[-*+\u2022]\s|\d{1,4}[.)]\s|\||>)")
_MENU = re.compile(
    r"[^|\u00bb\u203a\u2022\u00b7]{1,40}(?:\s[|\u00bb\u203a\u2022\u00b7]\s[^|\u00bb\u203a\u2022\u00b7]{1,40}){2,}"
)
_FURNITURE = re.compile(
    r"""(?:\W*(?:
      (?:skip|jump)\ to\ (?:(?:the\ )?(?:main\ )?content|navigation|search)
    | (?:back|return|go)\ to\ (?:the\ )?top
    | (?:previous|prev|next|home|up)(?:\ (?:page|post|article|topic|chapter|section))?
    | share(?:\ this)?(?:\ on\ \w{1,20})? | tweet | pin\ it | e?-?mail\ this
    | (?:print|bookmark|report)(?:\ this\ page)?
    | (?:log|sign)\ ?(?:in|out|up)(?:\ (?:to\ (?:reply|comment|continue)|or\ register))?
    | register | reply | edit | quote | permalink | loading(?:\ \w{1,20})?
    | advertisements? | sponsored(?:\ links?)?
    | (?:leave|add|post)\ a\ (?:comment|reply)
    | all\ rights\ reserved
    | (?:copyright\ )?(?:\(c\)|\u00a9)[^\n]{0,80} | copyright\ \d{4}[^\n]{0,80}
    | powered\ by\ [^\n]{1,60} | (?:last\ )?(?:modified|updated)\ (?:on|:)[^\n]{0,60}
    | accept\ (?:all\ )?cookies | cookie\ (?:policy|settings) | privacy\ policy | terms\ of\ (?:use|service)
    )\W*){1,6}""",
    re.IGNORECASE | re.VERBOSE,
)
_NAVIGATION = frozenset(
    [
        "navigation",
        "menu",
        "share",
        "share this",
        "related posts",
        "related articles",
        "related links",
        "tags",
        "categories",
        "recent posts",
        "recent comments",
        "archives",
        "follow us",
        "subscribe",
        "site map",
        "sitemap",
        "you may also like",
        "more from this site",
        "blogroll",
        "meta",
        "search",
    ]
)


@dataclass(frozen=True, kw_only=True)
class Rules:
    r"""The cleaner that needs no model. It never rewrites a sentence.

    Args:
        composes: Put characters into Unicode normal form C.
        repairs: Undo UTF-8 that was read as Windows-1252, where the bytes prove it.
        standardises: Turn `\(...\)`, `\[...\]` and display environments into `$` and `$$`.
        spells: Write Unicode characters inside formulas as TeX commands, `\u2264` as `\leq`.
        drops_furniture: Remove lines that name parts of a page (`Back to top`, `Log in`), menus at
            the end, and sections of navigation at the end.
        max_repeats: A short line without a full stop that occurs more often stays once; 0 keeps all.
        drops_empty_headings: Remove headings with nothing below them; three and more of one level in
            a row are a list and stay.

    >>> Rules().clean("# A\n\n\\(x\\)  is \u00c3\u00a9l\u00c3\u00a9mentaire.\n\n\n\n## B\n\nBack to top")
    '# A\n\n$x$ is \xe9l\xe9mentaire.'
    """

    kind: Literal["rules"] = "rules"
    composes: bool = True
    repairs: bool = True
    standardises: bool = True
    spells: bool = False
    drops_furniture: bool = True
    max_repeats: int = 5
    drops_empty_headings: bool = True

    def __post_init__(self) -> None:
        if self.max_repeats < 0:
            raise InputError("rules.max_repeats", self.max_repeats, "use 0 or more")

    def clean(self, text: str) -> str:
        """The cleaned text; empty when nothing is left."""
        if self.repairs and not text.isascii():
            text = repair(text)
        protected = protect(text, is_foreign=self.standardises)
        pieces = tuple(
            self._piece(piece, span)
            for piece, span in zip(protected.pieces, protected.spans, strict=True)
        )
        text = protected.text
        text = _INVISIBLE.sub("", text)
        if self.composes and not text.isascii():
            text = unicodedata.normalize("NFC", text)
        lines = [self._line(line) for line in text.split("\n")]
        if self.max_repeats:
            lines = _once(lines, self.max_repeats)
        if self.drops_furniture:
            lines = _strip_furniture(lines)
        if self.drops_empty_headings:
            lines = _strip_headings(lines)
        joined = "\n".join(_single_blanks(lines)).strip("\n")
        return protected._replace(pieces=pieces).restore(joined)

    def _piece(self, piece: str, span: Span) -> str:
        if not span.is_formula:
            return piece
        piece = _INVISIBLE.sub("", piece)
        if self.composes and not piece.isascii():
            piece = unicodedata.normalize("NFC", piece)
        if self.spells and not piece.isascii():
            piece = _BEYOND_ASCII.sub(_spelled, piece)
        if not self.standardises or piece.startswith("$"):
            return piece
        if piece.startswith("\\begin"):
            return f"$$\n{piece}\n$$"
        inner = piece[2:-2].strip()
        return f"${inner}$" if span.kind == "inline" else f"$$\n{inner}\n$$"

    def _line(self, line: str) -> str:
        line = line.rstrip()
        if "  " in line or "\t" in line or not line.isascii():
            line = _BLANKS.sub(" ", line)
        return line


def _spelled(match: re.Match[str]) -> str:
    tex = ""
    for char in match[1]:
        tex = join(tex, char_tex(char))
    return join(tex, match[2])


def _is_short(line: str) -> bool:
    """A line that may be furniture: short, no sentence, no formula, no mark of structure."""
    return (
        0 < len(line) < 80
        and not line.endswith((".", ":", "?", "!", ",", ";"))
        and "\ufdd0" not in line
        and not _STRUCTURE.match(line)
    )


def _once(lines: list[str], most: int) -> list[str]:
    """Keep the first of short lines that occur more than `most` times."""
    counts = Counter(line for line in lines if _is_short(line) and not _CODE_LIKE.search(line))
    often = {line for line, count in counts.items() if count > most}
    if not often:
        return lines
    kept: list[str] = []
    for line in lines:
        if line in often:
            if counts[line] < 0:
                continue
            counts[line] = -1
        kept.append(line)
    return kept


def _strip_furniture(lines: list[str]) -> list[str]:
    kept = [line for line in lines if not _is_furniture(line)]
    while kept and (_is_blank(kept[-1]) or (_is_short(kept[-1]) and _MENU.fullmatch(kept[-1]))):
        kept.pop()
    while True:
        start = _last_heading(kept)
        if start is None or start == 0:
            return kept
        title = kept[start].lstrip("#").strip(" :*").lower()
        section = kept[start + 1 :]
        says_something = any(
            "\ufdd0" in line or (line.rstrip().endswith(".") and len(line) > 40) for line in section
        )
        if title not in _NAVIGATION or says_something:
            return kept
        del kept[start:]


def _is_furniture(line: str) -> bool:
    is_candidate = len(line) < 120 and "\ufdd0" not in line and not _STRUCTURE.match(line)
    return is_candidate and _FURNITURE.fullmatch(line.strip()) is not None


def _is_blank(line: str) -> bool:
    """Nothing to read: no letter or digit, which a token of a formula has, and no table."""
    return _READABLE.search(line) is None


def _last_heading(lines: list[str]) -> int | None:
    for index in range(len(lines) - 1, -1, -1):
        if _HEADING.match(lines[index]):
            return index
    return None


def _strip_headings(lines: list[str]) -> list[str]:
    """Remove headings that a heading of the same or a higher level, or the end, follows."""
    listed = _listed_headings(lines)
    kept: list[str] = []
    level_below = 0  # level of the next heading behind; 0 is the end of the document
    has_content = False
    for index in range(len(lines) - 1, -1, -1):
        line = lines[index]
        heading = _HEADING.match(line)
        if heading is None or index in listed:
            has_content = has_content or bool(line.strip())
            kept.append(line)
            continue
        level = len(heading[1])
        if has_content or level < level_below or "\ufdd0" in line:
            kept.append(line)
            level_below, has_content = level, False
    return kept[::-1]


def _listed_headings(lines: list[str]) -> set[int]:
    """Headings in runs of three or more of one level with only blank lines between them."""
    runs: list[list[int]] = []
    level = 0
    for index, line in enumerate(lines):
        heading = _HEADING.match(line)
        if heading is not None and len(heading[1]) == level:
            runs[-1].append(index)
        elif heading is not None:
            level = len(heading[1])
            runs.append([index])
        elif line.strip():
            level = 0
    return {index for run in runs if len(run) > 2 for index in run}


def _single_blanks(lines: list[str]) -> list[str]:
    """At most one blank line between two others."""
    kept: list[str] = []
    for line in lines:
        if line.strip() or (kept and kept[-1]):
            kept.append(line if line.strip() else "")
    return kept
