r"""reStructuredText to Markdown with TeX: prose and formulas stay, code and machinery go.

This is how held-out text is made: from the sources that authors wrote, so that no HTML and no
extractor has a part in it.
"""

from __future__ import annotations

import re

FENCED = ("code", "code-block", "sourcecode", "ipython", "parsed-literal", "doctest", "plot")
UNWRAPPED = ("note", "warning", "tip", "important", "seealso", "admonition", "topic", "hint", "versionadded",
             "versionchanged", "deprecated", "rubric", "epigraph", "attention", "caution", "danger")  # fmt: skip

_DIRECTIVE = re.compile(r"^(\s*)\.\. (?:([\w:+-]+)::)?(.*)$")
_RULE = re.compile(r"^([=\-~^\"'`#*+.:_<>])\1{2,}\s*$")
_BULLET = re.compile(r"^\s*([-*+]|\d+[.)]|#\.)\s")
_MATH = re.compile(r":math:`([^`]+)`")
_ROLE = re.compile(r":[\w:+.-]+:`([^`<]*?)\s*(?:<([^`>]*)>)?`")
_LINK = re.compile(r"`([^`<]+?)\s*<[^`>]+>`__?")
_REFERENCE = re.compile(r"`([^`]+)`__?(?!\w)|\[[\w#*.-]+\]_|\|[\w. -]+\|(?:_+)?")
_LITERAL = re.compile(r"``(.+?)``")


def markdown(text: str) -> str:
    r"""Convert a source file.

    >>> markdown("Area\n====\n\nA :class:`Disc <x.Disc>` has :math:`\\pi r^2`.\n\n.. math:: a = b\n")
    '## Area\n\nA Disc has $\\pi r^2$.\n\n$$\na = b\n$$\n'
    """
    lines = text.expandtabs(8).splitlines()
    out: list[str] = []
    i = 0
    while i < len(lines):
        line = lines[i]
        directive = _DIRECTIVE.match(line)
        if not line.strip():
            out.append("")
            i += 1
        elif directive:
            indent, name, argument = len(directive[1]), directive[2], directive[3].strip()
            block, i = _block(lines, i + 1, indent)
            out += _directive(name, argument, block)
        elif _is_heading(lines, i):
            out += ["", f"## {_inline(line.strip())}", ""]
            i += 2
        elif _RULE.match(line) or re.match(r"^\s*:[\w ,.-]+:(\s|$)", line):
            i += 1  # overlines, table rules, field lists
        elif line.lstrip().startswith(">>>"):
            while i < len(lines) and lines[i].strip():
                i += 1
        else:
            paragraph, i = _paragraph(lines, i)
            if paragraph.endswith("::"):  # a literal block follows
                paragraph = paragraph[:-1] if paragraph != "::" else ""
                _, i = _block(lines, i, len(line) - len(line.lstrip()))
            out.append(_inline(paragraph))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip() + "\n"


def _paragraph(lines: list[str], start: int) -> tuple[str, int]:
    """Consecutive lines as one, and the number of the line behind; a bullet starts a new one."""
    end = start + 1
    while (
        end < len(lines)
        and lines[end].strip()
        and not _BULLET.match(lines[end])
        and not _DIRECTIVE.match(lines[end])
        and not _is_heading(lines, end)
    ):
        end += 1
    return " ".join(line.strip() for line in lines[start:end]), end


def _block(lines: list[str], start: int, indent: int) -> tuple[list[str], int]:
    """The lines from `start` that are blank or indented deeper, and the number of the line behind."""
    end = start
    while end < len(lines):
        line = lines[end]
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        end += 1
    return lines[start:end], end


def _directive(name: str | None, argument: str, block: list[str]) -> list[str]:
    body = _without_options(block)
    if name == "math":
        pieces = [argument, *re.split(r"\n\s*\n", "\n".join(line.strip() for line in body))]
        formulas = [piece.strip() for piece in pieces if piece.strip()]
        return [line for tex in formulas for line in ("", "$$", *tex.splitlines(), "$$", "")]
    if name in UNWRAPPED:
        margin = min((len(s) - len(s.lstrip()) for s in body if s.strip()), default=0)
        inner = markdown("\n".join(line[margin:] for line in body)).splitlines()
        return ["", *([_inline(argument)] if argument else []), "", *inner, ""]
    return [""]


def _without_options(block: list[str]) -> list[str]:
    i = 0
    while i < len(block) and re.match(r"^\s+:[\w-]+:", block[i]):
        i += 1
    return block[i:]


def _is_heading(lines: list[str], i: int) -> bool:
    if i + 1 >= len(lines) or not lines[i].strip() or (lines[i][0] == " " and not _over(lines, i)):
        return False
    return bool(_RULE.match(lines[i + 1])) and not _RULE.match(lines[i])


def _over(lines: list[str], i: int) -> bool:
    return i > 0 and bool(_RULE.match(lines[i - 1]))


def _inline(line: str) -> str:
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(f"${match[1].strip()}$" if match.re is _MATH else f"`{match[1]}`")
        return f"\ue000{len(kept) - 1}\ue001"

    line = _MATH.sub(keep, line)
    line = _LITERAL.sub(keep, line)
    line = _ROLE.sub(lambda m: (m[1] or m[2] or "").lstrip("~!"), line)
    line = _LINK.sub(r"\1", line)
    line = _REFERENCE.sub(lambda m: m[1] or "", line)
    line = line.replace("\\ ", "")  # a join without a space
    return re.sub("\ue000(\\d+)\ue001", lambda m: kept[int(m[1])], line)
