r"""Formulas of one page: found in its source, its tree and its text, and put back as TeX.

A page passes four steps. `prepare` mends the source and reads the page's math settings; `replace`
puts a mark in place of every element that is a formula; `in_text` does the same for delimiters in
the text of one block; `render` turns marks into `$...$` and `$$...$$`.
"""

from __future__ import annotations

import html as html_entities
import re

from selectolax.lexbor import LexborHTMLParser

from nautiloid.curate.math import asciimath, delimiters, elements
from nautiloid.curate.math.formula import (
    CLOSE,
    MARK,
    MAX_CHARS,
    OPEN,
    SHIELD,
    SHIELDS,
    Formula,
    aligned,
    clean,
)

_ESCAPED_TWICE = re.compile(r"&(?:lt|gt|amp|quot|nbsp);")
_CLOSE_REFERENCE = re.compile(r"&#(?:[xX]0*[eE]001|0*57345);?")
# How such a reference may begin: five characters behind `&#`.
_CLOSE_HEAD = re.compile(r"[xX](?:0|[eE]001)|0|57345")
_PREFIX = re.compile(r"<(/?)(?:mml|m|mathml|math):([A-Za-z])")
# XML closes any element in its own tag; HTML would leave these open to the end of the page.
_CLOSED_NAMES = (
    "a b div em h1 h2 h3 h4 h5 h6 i iframe li object p script span style td textarea title tr ul"
)
_CLOSED = frozenset(_CLOSED_NAMES.split())
_LINE_HEAD = re.compile(r"[ \t]*(?:(?:[-*+]|[0-9]{1,9}[.)]|>)[ \t]+)*")
_SENTENCE_END = frozenset(".,;:!?")
_NONE = Formula("", False, "")


class Recovery:
    """The formulas of one page.

    Attributes:
        formulas: Everything found so far; marks hold indices into it.
    """

    def __init__(self, html: str):
        self.formulas: list[Formula] = []
        self.delimiters = delimiters.configured(html)
        self._html = html

    @staticmethod
    def prepare(html: str) -> tuple[str, Recovery]:
        """Source fit for the parser, and the recovery of its page."""
        if CLOSE in html:
            html = html.replace(CLOSE, "")
        if "&#" in html and _may_close(html):
            html = _CLOSE_REFERENCE.sub("", html)
        if html.startswith("<?xml") or html[:200].lstrip().startswith("<?xml"):
            html = _closed(html)
        if ":math" in html:
            html = _PREFIX.sub(r"<\1\2", html)
        recovery = Recovery(html)
        html = delimiters.escaped(html)
        return html, recovery

    def replace(self, tree: LexborHTMLParser) -> None:
        """Every formula that is an element becomes a mark; the tree is changed in place."""
        elements.replace(tree, self._html, self.delimiters, self.add)

    def add(self, tex: str, is_display: bool, encoding: str) -> str:
        """The mark of a new formula; "" where nothing is left of it, the text itself over the cap."""
        if len(tex) > MAX_CHARS:
            return tex
        if "&" in tex and ";" in tex:
            # Escaped twice: TeX has no use for a named character.
            tex = _ESCAPED_TWICE.sub(lambda match: html_entities.unescape(match.group()), tex)
        tex = clean(tex, is_display)
        if not tex:
            return ""
        if is_display:
            tex = aligned(tex)
        self.formulas.append(Formula(tex, is_display, encoding))
        return f"{OPEN}{len(self.formulas) - 1}{CLOSE}"

    def in_text(self, text: str) -> str:
        """Text of one block outside code, its delimited formulas as marks."""
        has_ticks = self.delimiters.backticks and "`" in text
        if not ("$" in text or "\\" in text or "[/" in text or has_ticks):
            return text
        parts: list[str] = []
        done = 0
        for span in delimiters.find(text, self.delimiters):
            parts.append(text[done : span.start])
            tex = self._plain(span.tex)
            if span.encoding == "asciimath":
                tex = asciimath.to_tex(tex)
            parts.append(self.add(tex, span.is_display, span.encoding))
            done = span.end
        if not parts:
            return text
        parts.append(text[done:])
        return "".join(parts)

    def _plain(self, tex: str) -> str:
        """TeX without marks of formulas inside it: their TeX instead."""
        if OPEN in tex:
            tex = MARK.sub(lambda mark: self._at(mark).tex, tex)
        return tex

    def protect(self, text: str) -> str:
        """Text in which nothing is a delimiter, for inline code; `render` undoes it."""
        return text.translate(SHIELD)

    def kept(self, text: str) -> list[Formula]:
        """Formulas whose marks are in `text`, in its order."""
        found = (self._at(mark) for mark in MARK.finditer(text))
        return [formula for formula in found if formula is not _NONE]

    def _at(self, mark: re.Match[str]) -> Formula:
        """The formula of a mark; an empty one for a mark that is not ours."""
        index = int(mark.group(1))
        return self.formulas[index] if index < len(self.formulas) else _NONE

    def render(self, text: str, is_inline: bool = False) -> str:
        """Text with TeX in place of marks: display formulas on their own lines.

        Args:
            text: What the walker made, marks included.
            is_inline: Whether no line may be broken, as in a table cell.
        """
        if OPEN in text:
            if is_inline:
                text = MARK.sub(self._inline, text)
            else:
                lines = text.split("\n")
                text = "\n".join(self._line(line) if OPEN in line else line for line in lines)
        # Most texts hold none of them, and a look for each is cheaper than a pass over all characters.
        for char, mark in SHIELDS.items():
            if mark in text:
                text = text.replace(mark, char)
        return text

    def _inline(self, mark: re.Match[str]) -> str:
        tex = self._at(mark).tex
        return f"${tex}$".replace("\n", " ") if tex else ""

    def _line(self, line: str) -> str:
        """A line with marks, as several where display formulas stand in it."""
        marks = list(MARK.finditer(line))
        if not any(self._at(mark).is_display for mark in marks):
            return MARK.sub(self._inline, line)
        match = _LINE_HEAD.match(line)
        prefix = match.group() if match else ""
        # Lines behind the first stay inside the same list item or quotation.
        indent = "".join(char if char in "> \t" else " " for char in prefix)
        lines: list[str] = []
        current = prefix
        position = len(prefix)
        for mark in marks:
            formula = self._at(mark)
            current += line[position : mark.start()]
            position = mark.end()
            if not formula.is_display:
                current += f"${formula.tex}$"
                continue
            if current.strip() and current != prefix:
                lines.append(current.rstrip())
                current = indent
            # Marks of a quotation would stand inside the TeX.
            tex = formula.tex.replace("\n", " " if ">" in indent else "\n" + indent)
            # A full stop behind a formula gets no line of its own.
            stop = line[position : position + 1]
            if stop not in _SENTENCE_END or line[position + 1 : position + 2].strip():
                stop = ""
            position += len(stop)
            lines.append(f"{current}$${tex}$${stop}")
            current = indent
            while position < len(line) and line[position] in " \t":
                position += 1
        current += line[position:]
        if current.strip(" \t>"):
            lines.append(current)
        return "\n".join(lines)


def _may_close(html: str) -> bool:
    """Whether a character reference may be one to `CLOSE`: pages repeat few of them."""
    heads = {part[:5] for part in html.split("&#")}
    return any(map(_CLOSE_HEAD.match, heads))


def _closed(html: str) -> str:
    """XHTML source in which elements that are closed in their own tag have an end tag."""
    parts: list[str] = []
    done = 0
    position = html.find("/>")
    while position != -1:
        start = html.rfind("<", done, position)
        name = html[start + 1 : position].split(None, 1)[:1] if start != -1 else []
        if name and name[0] in _CLOSED and ">" not in html[start:position]:
            parts += (html[done:position], "></", name[0], ">")
            done = position + 2
        position = html.find("/>", position + 2)
    parts.append(html[done:])
    return "".join(parts)
