r"""Formulas between delimiters in text: `\(..\)`, `\[..\]`, `$..$`, environments, wiki tags.

What counts as a delimiter follows the settings of MathJax and KaTeX that the page carries. A single
dollar is math only where the page says so or where its content cannot be a price or a variable.
"""

from __future__ import annotations

import html as entities
import re
from collections.abc import Iterator
from dataclasses import dataclass

from nautiloid.curate.math.formula import MAX_CHARS

# An inline formula over more characters has lost its end.
_MAX_INLINE = 4000
# Ends tried for one opener before braces that never balance are accepted: keeps the scan linear.
_TRIES = 4

_ENVIRONMENTS_NAMES = (
    "equation align gather multline eqnarray alignat flalign math displaymath "
    "matrix pmatrix bmatrix vmatrix Bmatrix Vmatrix cases array split aligned gathered "
    "subequations dmath dgroup darray CD"
)
_ENVIRONMENTS = frozenset(_ENVIRONMENTS_NAMES.split())
_OPENER = re.compile(r"\\\(|\\\[|\$\$?|\\begin\{|\[(?:itex|math|latex|tex)\]|`", re.IGNORECASE)
_CODES = {"[itex]": "[/itex]", "[math]": "[/math]", "[latex]": "[/latex]", "[tex]": "[/tex]"}
_DOLLARS_ON = re.compile(
    r"""inlineMath(?:Delimiters)?["']?\s*[:=]\s*\[[^$;{}]{0,80}["']\$["']"""
    r"""|\bleft["']?\s*:\s*["']\$["']"""
)
_BACKTICKS_ON = re.compile(
    r"asciimath2jax|input/asciimath|ASCIIMathML|config=[\w,.-]{0,80}\bAM_|-AM_"
)
_COMMAND = re.compile(r"\\[A-Za-z]{2,}|\\[,;!{}|]|[\^_][{\\A-Za-z0-9*]")
_WORD = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{3,}")
_TEXT = re.compile(r"\\(?:text|mathrm|textrm|operatorname|mbox|textit|textbf)\s*\{[^{}]*\}")
# f(x, y) = 2 with letters of one or two characters, numbers, signs and brackets.
_PLAIN = re.compile(r"[A-Za-z0-9'.,;:()\[\]|!+*/=<>\s\u0370-\u03ff\u2200-\u22ff-]+")
_RELATION = re.compile(r"[=<>+*/|()\[\]-]")
_DOUBLED = re.compile(r"\\\\(?:[A-Za-z]{2}|[{},;|])")
_SINGLE = re.compile(r"(?<!\\)\\(?:\\\\)*[A-Za-z]")
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)?")
_INLINE_TAGS_NAMES = (
    "a abbr b bdi bdo br cite code del dfn em font i img ins kbd mark math nobr p q s samp small "
    "span strike strong sub sup tt u var wbr div li td tr th ul ol h1 h2 h3 h4 h5 h6"
)
_INLINE_TAGS = frozenset(_INLINE_TAGS_NAMES.split())


@dataclass(frozen=True, slots=True)
class Delimiters:
    """Which delimiters of one page mean math.

    Args:
        dollars: Whether `$..$` is math by the page's own settings; guarded by its content if not.
        backticks: Whether backticks hold AsciiMath.
    """

    dollars: bool = False
    backticks: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """A formula found in a text at `[start, end)`, delimiters included."""

    start: int
    end: int
    tex: str
    is_display: bool
    encoding: str


def configured(html: str) -> Delimiters:
    """Delimiters that the settings in the source of a page turn on."""
    dollars = False
    position = html.find("$")
    while position != -1 and not dollars:
        # A quoted dollar alone: in a list of delimiters, or a string of another script.
        if (
            html[position - 1 : position] in _QUOTES
            and html[position + 1 : position + 2] in _QUOTES
        ):
            dollars = bool(_DOLLARS_ON.search(html, max(position - 120, 0), position + 2))
        position = html.find("$", position + 1)
    backticks = (
        "`" in html and "Math" in html and ("AM_" in html or "scii" in html or "SCII" in html)
    )
    return Delimiters(dollars, backticks and bool(_BACKTICKS_ON.search(html)))


_QUOTES = frozenset("'\"")


def find(text: str, delimiters: Delimiters) -> Iterator[Span]:
    r"""Formulas of one block of text, left to right, none inside another.

    >>> [s.tex for s in find(r"costs $5 and $6, so \(x_1 < 2\)", Delimiters())]
    ['x_1 < 2']
    """
    scan = _Scan(text, delimiters)
    position = 0
    while opener := _OPENER.search(text, position):
        span = scan.span(opener.group(), opener.start(), opener.end())
        if span is None:
            position = opener.end()
        else:
            yield span
            position = span.end


class _Scan:
    """Finds ends of formulas in one text. Ends that were looked for in vain are remembered: linear time."""

    def __init__(self, text: str, delimiters: Delimiters):
        self.text = text
        self.delimiters = delimiters
        self.ends: dict[str, int] = {}

    def span(self, opener: str, start: int, inside: int) -> Span | None:
        """The formula that `opener` at `start` begins, or None."""
        text = self.text
        # A doubled backslash before the bracket is a line break of TeX, not an opener.
        if opener[0] == "\\" and start and text[start - 1] == "\\":
            return None
        if opener == "\\(":
            return self._between(start, inside, "\\)", False)
        if opener == "\\[":
            return self._between(start, inside, "\\]", True)
        if opener == "$$":
            return self._dollars(start, inside)
        if opener == "$":
            return self._dollar(start, inside)
        if opener == "`":
            return self._backtick(start, inside)
        if opener[0] == "[":
            return self._between(start, inside, _CODES[opener.lower()], False)
        return self._environment(start, inside)

    def next(self, end: str, position: int) -> int:
        """Index of the next `end` from `position`, -1 for none."""
        known = self.ends.get(end, 0)
        if end not in self.ends or -1 < known < position:
            known = self.ends[end] = self.text.find(end, position)
        return known

    def _between(self, start: int, inside: int, end: str, is_display: bool) -> Span | None:
        limit = inside + (MAX_CHARS if is_display else _MAX_INLINE)
        first = close = self.next(end, inside)
        for _ in range(_TRIES):
            if close == -1 or close > limit:
                break
            tex = self.text[inside:close]
            # \\) is a line break and a bracket; an end inside braces belongs to \text{...}.
            escaped = end[0] == "\\" and (len(tex) - len(tex.rstrip("\\"))) % 2
            if not escaped and tex.count("{") - tex.count("\\{") <= tex.count("}") - tex.count(
                "\\}"
            ):
                return self._made(start, close + len(end), tex, is_display)
            close = self.text.find(end, close + 1, limit)
        if first == -1 or first > limit:
            return None
        return self._made(start, first + len(end), self.text[inside:first], is_display)

    def _made(self, start: int, end: int, tex: str, is_display: bool) -> Span | None:
        if not tex.strip():
            return None
        return Span(start, end, undoubled(tex), is_display, "delimiters")

    def _dollars(self, start: int, inside: int) -> Span | None:
        if start and self.text[start - 1] == "\\":
            return None
        close = self.next("$$", inside)
        if close == -1 or close - inside > MAX_CHARS:
            return None
        # Brace-balanced as in MathJax: $$ \text{$x$} $$ ends at the last pair.
        tex = self.text[inside:close]
        if not tex.strip():
            return None
        if not self.delimiters.dollars and not _math_like(tex):
            return None
        return self._made(start, close + 2, tex, True)

    def _dollar(self, start: int, inside: int) -> Span | None:
        text = self.text
        if _is_escaped(text, start):
            return None
        close = self._dollar_end(inside)
        if close == -1:
            return None
        tex = text[inside:close]
        if not tex.strip():
            return None
        if self.delimiters.dollars:
            if _prose_like(tex):
                return None
        else:
            before = text[start - 1] if start else " "
            after = text[close + 1] if close + 1 < len(text) else " "
            if tex[0].isspace() or tex[-1].isspace():
                return None
            if before.isalnum() or after.isalnum() or before in "$_{" or after in "$_{":
                return None
            if not _math_like(tex):
                return None
        return self._made(start, close + 1, tex, False)

    def _dollar_end(self, inside: int) -> int:
        """Index of the dollar that ends a formula begun before `inside`, -1 for none."""
        text = self.text
        close = self.next("$", inside)
        first = close
        limit = inside + _MAX_INLINE
        for _ in range(_TRIES):
            if close == -1 or close > limit:
                break
            if not _is_escaped(text, close):
                tex = text[inside:close]
                if tex.count("{") - tex.count("\\{") <= tex.count("}") - tex.count("\\}"):
                    return close
            close = text.find("$", close + 1, limit)
        if first == -1 or first > limit or _is_escaped(text, first):
            return -1
        return first

    def _backtick(self, start: int, inside: int) -> Span | None:
        if not self.delimiters.backticks:
            return None
        close = self.next("`", inside)
        if close == -1 or close - inside > _MAX_INLINE or not self.text[inside:close].strip():
            return None
        return Span(start, close + 1, self.text[inside:close], False, "asciimath")

    def _environment(self, start: int, inside: int) -> Span | None:
        brace = self.text.find("}", inside, inside + 20)
        name = self.text[inside:brace] if brace != -1 else ""
        if name.rstrip("*") not in _ENVIRONMENTS:
            return None
        end = f"\\end{{{name}}}"
        close = self.next(end, inside)
        if close == -1 or close - inside > MAX_CHARS:
            return None
        stop = close + len(end)
        tex = self.text[start:stop]
        # These are commands of text mode: what is inside is the formula.
        if name.rstrip("*") in ("equation", "displaymath", "math"):
            tex = self.text[brace + 1 : close]
        return Span(start, stop, undoubled(tex), name != "math", "environment")


def _is_escaped(text: str, index: int) -> bool:
    """Whether an odd number of backslashes stands before `index`."""
    count = 0
    while count < index and text[index - count - 1] == "\\":
        count += 1
    return count % 2 == 1


def _words(tex: str) -> int:
    """Words of three letters and more that are neither commands nor inside \\text{...}."""
    if "\\" in tex:
        tex = _TEXT.sub("", tex)
    return len(_WORD.findall(tex))


def _math_like(tex: str) -> bool:
    """Whether the content of undeclared dollars can only be a formula."""
    if len(tex) > 2000 or "\n\n" in tex:
        return False
    if _COMMAND.search(tex):
        return _words(tex) <= 2 + len(tex) // 40
    # No command: a short formula of letters, digits and signs.
    if len(tex) > 120 or not _PLAIN.fullmatch(tex) or _WORD.search(tex):
        return False
    if len(tex) == 1:
        return tex.isalpha()
    if not any(char.isalpha() for char in tex):
        return False
    return bool(_RELATION.search(tex)) or (tex[0].isalpha() and tex[1:].strip("'").isdigit())


def _prose_like(tex: str) -> bool:
    """Whether the content of declared dollars is running text between two prices or two formulas."""
    return _words(tex) >= (2 if tex[0].isdigit() else 5) and not _COMMAND.search(tex)


def undoubled(tex: str) -> str:
    r"""TeX with single backslashes where a generator escaped every one of them.

    >>> undoubled(r"\\mathbf{x} \\leq 1")
    '\\mathbf{x} \\leq 1'
    """
    if "\\\\" in tex and _DOUBLED.search(tex) and not _SINGLE.search(tex):
        return tex.replace("\\\\", "\\")
    return tex


def escaped(html: str) -> str:
    r"""Source in which `<` inside delimited formulas no longer starts a tag.

    `\(a<b\)` loses its end to an HTML parser. A `<` is escaped where no tag that occurs in running
    text follows.

    >>> escaped(r"<p>\(a<b\)</p>")
    '<p>\\(a&lt;b\\)</p>'
    """
    found: list[tuple[int, int]] = []
    scan = _Scan(html, Delimiters())
    for first in "\\$":
        position = html.find(first)
        while position != -1:
            end = _SOURCE_ENDS.get(html[position : position + 2])
            step = 1 if end is None and first == "$" else 2
            if end is not None:
                close = scan.next(end, position + 2)
                if close != -1 and close - position < MAX_CHARS:
                    found.append((position + 2, close))
                    step = close + 2 - position
            position = html.find(first, position + step)
    parts: list[str] = []
    done = 0
    for start, close in sorted(found):
        if start < done or html.find("<", start, close) == -1:
            continue
        tex = html[start:close]
        if "<script" in tex or "</p" in tex or "</div" in tex:
            continue
        parts += (html[done:start], _TAG.sub(_tag, tex))
        done = close
    if not parts:
        return html
    parts.append(html[done:])
    return "".join(parts)


_SOURCE_ENDS = {"\\(": "\\)", "\\[": "\\]", "$$": "$$"}


def _tag(match: re.Match[str]) -> str:
    name = match.group(2)
    if name is None:
        return match.group() if match.group(1) else "&lt;"
    following = match.string[match.end() : match.end() + 1]
    is_tag = name.lower() in _INLINE_TAGS and (len(name) > 1 or following in (">", " ", "/"))
    if is_tag and match.string.find(">", match.end()) != -1:
        return match.group()
    return "&lt;" + match.group(1) + name


def stripped(tex: str) -> tuple[str, bool | None]:
    r"""TeX without the delimiters around it, and whether those said display; None for none.

    >>> stripped("$ F_p $")
    ('F_p', False)
    """
    tex = tex.strip()
    for start, end, is_display in (
        ("$$", "$$", True),
        ("\\[", "\\]", True),
        ("\\(", "\\)", False),
        ("$", "$", False),
    ):
        if tex.startswith(start) and tex.endswith(end) and len(tex) >= len(start) + len(end):
            inner = tex[len(start) : len(tex) - len(end)]
            if start == "$" and "$" in inner.replace("\\$", ""):
                continue
            return inner.strip(), is_display
    return tex, None


def unescaped(tex: str) -> str:
    """TeX of an attribute or URL that was escaped once more than HTML asks for."""
    return entities.unescape(tex) if "&" in tex and ";" in tex else tex
