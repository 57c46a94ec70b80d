r"""Formulas written with `<sup>`, `<sub>` and italics: `<i>x</i><sup>2</sup>` is `x^{2}`.

A script counts where what stands before it can carry one: a letter set as a variable, a number, a
bracket around a formula. Footnotes, ordinals, trade marks and chemical formulas stay text. Around a
script the formula grows over operators, numbers and other variables.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from selectolax.lexbor import LexborHTMLParser, LexborNode

from nautiloid.curate.math.formula import OPEN
from nautiloid.curate.math.symbols import join, text_tex

_MAX_SCRIPT = 24
_MAX_NESTING = 4
# Siblings looked at around one script.
_MAX_RUN = 60

_VARIABLE_TAGS = frozenset(("i", "em", "var", "b", "strong"))
_INNER_TAGS = frozenset(("i", "em", "var", "b", "span", "font", "sup", "sub", "-text", "strong"))
_LETTER = "A-Za-z\u0391-\u03a9\u03b1-\u03f5\u2102\u2115\u211a\u211d\u2124"
_SIGNS = "0-9+*/=<>()\\[\\]{}|,.:'\u2032\u2212\u00b1\u00b7\u00d7\u2026\u2208\u2264\u2265\u2260\u221e\u2192\u22c5\u2218\u2211\u220f\u222b\u2202\u221a!\\-"
_VARIABLE = re.compile(f"[{_LETTER}]{{1,2}}['\u2032]{{0,3}}")
_SCRIPT = re.compile(f"[{_LETTER}{_SIGNS}\\s\u2020\u22a4]+")
_WORD = re.compile(r"[A-Za-z]{3,}")
_ORDINAL = re.compile(
    r"(?:st|nd|rd|th|er|re|e|o|a|\u00e8me|de|TM|SM|R|\u00ae|\u2122|\u00ba|\u00aa)", re.IGNORECASE
)
_NOTE = re.compile(
    r"\[.*\]|\([a-z0-9]\)|[*\u2020\u2021\u00a7\u00b6]+|[a-z],[a-z]|[0-9]+(?:,\s*[0-9]+)+"
)
# What a script may stand on at the end of a text: a letter alone, a number, a closing bracket.
_BASE = re.compile(
    f"(?:^|[^{_LETTER}0-9.])([{_LETTER}]|[0-9]{{1,12}}(?:\\.[0-9]+)?)$|([\u2211\u220f\u222b\u222e])$"
)
_BRACKET = re.compile(r"\([^()]{1,60}\)$")
_BRIDGE = re.compile(f"[{_SIGNS}\\s]*")
_HEAD = re.compile(
    r"\s*(?:[=<>+\u2212\u00b1\u00b7\u00d7\u2264\u2265/-]\s*[0-9]+(?:\.[0-9]+)?|[)\]])"
)
_TAIL = re.compile(
    r"(?:[0-9]+(?:\.[0-9]+)?\s*[=<>+\u2212\u00b1\u00b7\u00d7\u2264\u2265*/-]?\s*|[(\[])$"
)
# Words of two letters, set in italics with the rest of a theorem.
_SHORT_WORDS = frozenset(
    (
        "if",
        "is",
        "it",
        "in",
        "of",
        "or",
        "on",
        "at",
        "to",
        "be",
        "we",
        "so",
        "as",
        "by",
        "an",
        "no",
        "do",
    )
)
_ELEMENT_NAMES = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Ti Cr Mn Fe Co Ni Cu Zn As Se Br Ag Sn I Ba "
    "Pt Au Hg Pb U"
)
_ELEMENTS = frozenset(_ELEMENT_NAMES.split())

Add = Callable[[str, bool, str], str]


def replace_runs(tree: LexborHTMLParser, add: Add) -> None:
    """Marks in place of formulas made of scripts."""
    done: set[int] = set()
    for node in tree.css("sup, sub"):
        parent = node.parent
        if (
            parent is None
            or parent.mem_id in done
            or parent.tag in ("sup", "sub", "pre", "code", "tt")
        ):
            continue
        if node.prev is None or not _is_script(node):
            continue
        done.add(parent.mem_id)
        _Row(parent).replace(add)


class _Row:
    """The children of one element, some of which are parts of formulas."""

    def __init__(self, parent: LexborNode):
        self.nodes: list[LexborNode] = []
        child = parent.first_child
        while child is not None:
            self.nodes.append(child)
            child = child.next
        self.texts = [
            (node.text(deep=False) or "") if node.tag == "-text" else None for node in self.nodes
        ]

    def replace(self, add: Add) -> None:
        """Takes the formulas of the row from left to right."""
        index = 1
        while index < len(self.nodes):
            if self.nodes[index].tag in ("sup", "sub") and _is_script(self.nodes[index]):
                index = self._formula(index, add)
            index += 1

    def _formula(self, index: int, add: Add) -> int:
        """The formula around the script at `index`; index of its last node, `index` without one."""
        if self._is_logo(index):
            return index
        base = self._base(index - 1)
        if base is None:
            return index
        first, cut, tex = base
        first, cut, tex = self._leftwards(first, cut, tex)
        tex = join(tex, _script(self.nodes[index]))
        last, rest, tex = self._rightwards(index, tex)
        tex = tex.strip()
        trailing = len(tex) - len(tex.rstrip(",.:; "))
        if trailing:
            # Punctuation of the sentence.
            rest = tex[len(tex) - trailing :] + rest
            tex = tex[: len(tex) - trailing]
        head = (self.texts[first] or "")[:cut]
        if tex[0] in "([" and _is_open(tex):
            # A bracket of the sentence around the formula.
            head, tex = head + tex[0], tex[1:].lstrip()
        mark = add(tex, False, "runs")
        self.nodes[first].replace_with(head + mark + rest)
        for node in self.nodes[first + 1 : last + 1]:
            node.replace_with("")
        # What follows stands on a mark now, not on a variable.
        self.texts[last] = None
        return last

    def _is_logo(self, index: int) -> bool:
        """Whether the script at `index` is the E of TeX or LaTeX, which then is written as a word."""
        node = self.nodes[index]
        if node.tag != "sub" or node.text(deep=True).strip() not in ("E", "e"):
            return False
        around = self.texts[index - 1], self.texts[index + 1] if index + 1 < len(self.texts) else ""
        if not ((around[0] or "").endswith("T") and (around[1] or "").startswith("X")):
            return False
        node.replace_with("e")
        raised = self.nodes[index - 2] if around[0] == "T" and index > 1 else node
        if raised.tag == "sup" and raised.text(deep=True).strip() in ("A", "a"):
            raised.replace_with("a")
        return True

    def _base(self, index: int) -> tuple[int, int, str] | None:
        """Where the base begins (node, offset in its text) and its TeX, None where there is none."""
        node = self.nodes[index]
        script = self.nodes[index + 1]
        text = self.texts[index]
        if text is None:
            variable = _variable(node)
            return (index, 0, variable) if variable else None
        if OPEN in text[-12:]:
            return None
        bracket = _BRACKET.search(text)
        if (
            bracket is not None
            and not _WORD.search(bracket.group())
            and _SCRIPT.fullmatch(bracket.group())
        ):
            return index, bracket.start(), text_tex(bracket.group())
        match = _BASE.search(text)
        if match is None:
            if index and text.endswith((")", "]")) and _BRIDGE.fullmatch(text):
                return index, 0, text_tex(text)
            return None
        if match[2] is not None:
            return index, match.start(2), text_tex(match[2])
        if not _carries(match[1], script, text[: match.start(1)]):
            return None
        return index, match.start(1), text_tex(match[1])

    def _leftwards(self, first: int, cut: int, tex: str) -> tuple[int, int, str]:
        """The run grown to the left over variables and operators between them."""
        for _ in range(_MAX_RUN):
            text = self.texts[first]
            if text is not None and cut:
                before = text[:cut]
                if (
                    not _BRIDGE.fullmatch(before)
                    or not first
                    or not _variable(self.nodes[first - 1])
                ):
                    tail = _TAIL.search(before)
                    if tail is not None:
                        tex = join(text_tex(" ".join(tail.group().split())), tex)
                        return first, tail.start(), tex
                    return first, cut, tex
                tex = join(_spaced(before), tex)
                cut = 0
                continue
            if not first:
                return first, cut, tex
            variable = _variable(self.nodes[first - 1])
            if variable:
                first, tex = first - 1, join(variable, tex)
                continue
            before = self.texts[first - 1]
            if before is None:
                return first, cut, tex
            if text is None:
                tail = _TAIL.search(before)
                is_bridge = bool(before.strip()) and _BRIDGE.fullmatch(before)
                if is_bridge and first > 1 and _variable(self.nodes[first - 2]):
                    first, tex = first - 1, join(_spaced(before), tex)
                    continue
                if tail is not None:
                    return (
                        first - 1,
                        tail.start(),
                        join(text_tex(" ".join(tail.group().split())), tex),
                    )
            return first, cut, tex
        return first, cut, tex

    def _rightwards(self, last: int, tex: str) -> tuple[int, str, str]:
        """The run grown to the right; with the text behind it that is not part of it."""
        for _ in range(_MAX_RUN):
            index = last + 1
            if index >= len(self.nodes):
                break
            node = self.nodes[index]
            if node.tag in ("sup", "sub") and _is_script(node):
                tex = join(tex, _script(node))
                last = index
                continue
            variable = _variable(node)
            if variable:
                tex = join(tex, variable)
                last = index
                continue
            text = self.texts[index]
            if text is None:
                break
            follows = index + 1 < len(self.nodes) and (
                _variable(self.nodes[index + 1])
                or (
                    self.nodes[index + 1].tag in ("sup", "sub")
                    and text.rstrip().endswith((")", "]"))
                )
            )
            if follows and text.strip() and _BRIDGE.fullmatch(text) and not _is_pause(text):
                tex = join(tex, _spaced(text))
                last = index
                continue
            head = _HEAD.match(text)
            if head is not None and (head.group().strip() not in ")]" or _is_open(tex)):
                return index, text[head.end() :], join(tex, _spaced(head.group()))
            break
        return last, "", tex


def _is_pause(text: str) -> bool:
    """Whether a text between variables ends a clause."""
    return text.strip() in (".", ":", ";", "!", "...") or text.lstrip().startswith((". ", "; "))


def _is_open(tex: str) -> bool:
    return tex.count("(") > tex.count(")") or tex.count("[") > tex.count("]")


def _spaced(text: str) -> str:
    core = text_tex(" ".join(text.split()))
    return (
        (" " if text[:1].isspace() else "") + core + (" " if text[-1:].isspace() and core else "")
    )


def _variable(node: LexborNode) -> str:
    """TeX of an element that sets a variable in italics, "" for other nodes."""
    tag = node.tag
    if tag == "span":
        if "italic" not in (node.attributes.get("style") or ""):
            return ""
    elif tag not in _VARIABLE_TAGS:
        return ""
    text = node.text(deep=True).strip()
    if not _VARIABLE.fullmatch(text) or text.lower() in _SHORT_WORDS:
        return ""
    tex = text_tex(text)
    return f"\\mathbf{{{tex}}}" if tag in ("b", "strong") else tex


def _is_script(node: LexborNode) -> bool:
    """Whether the content of a `sup` or `sub` can be a script."""
    text = node.text(deep=True).strip()
    if not text or len(text) > _MAX_SCRIPT or not _SCRIPT.fullmatch(text):
        return False
    if node.tag == "sup" and (
        _ORDINAL.fullmatch(text) or _NOTE.fullmatch(text) or _WORD.search(text)
    ):
        # A star or dagger on a variable is one; alone on a word it is a note.
        return text in ("*", "\u2020", "T") and node.prev is not None and bool(_variable(node.prev))
    return all(
        child.tag in _INNER_TAGS
        for child in node.traverse(include_text=True)
        if child.mem_id != node.mem_id
    )


def _carries(base: str, script: LexborNode, before: str) -> bool:
    """Whether plain text before a script is its base and not a word, a unit of text or an element."""
    text = script.text(deep=True).strip()
    is_sup = script.tag == "sup"
    if base[0].isdigit():
        if not is_sup:
            return text.isdigit() and set(base) <= set("0123456789") and len(text) <= 2
        if text.isdigit():
            # A year or a result with a footnote against a power.
            return "." not in base and len(base) <= 2 and not before[-1:].isalpha()
        return True
    if before[-1:].isalpha() or before.endswith(("-", "\u2019", "'")):
        return False
    is_charge = is_sup and text[-1:] in "+-\u2212"
    return base not in _ELEMENTS or text.isalpha() or not (is_charge or not is_sup)


def _script(node: LexborNode, depth: int = 0) -> str:
    """TeX of one script, `^{...}` or `_{...}`."""
    mark = "^" if node.tag == "sup" else "_"
    tex = ""
    child = node.first_child
    while child is not None:
        if child.tag == "-text":
            tex = join(tex, _script_text(child.text(deep=False) or ""))
        elif child.tag in ("sup", "sub") and depth < _MAX_NESTING:
            tex += _script(child, depth + 1)
        else:
            tex = join(tex, _script_text(child.text(deep=True)))
        child = child.next
    tex = tex.strip()
    if mark == "^" and set(tex) == {"'"}:
        return tex
    return f"{mark}{{{tex}}}"


def _script_text(text: str) -> str:
    """TeX of the characters of a script; words upright."""
    tex = ""
    for part in re.findall(r"[A-Za-z]{2,}|\s+|.", text, re.DOTALL):
        if len(part) > 1 and part.isalpha():
            part = f"\\mathrm{{{part}}}" if len(part) > 2 else part
            tex = join(tex, part)
        elif part.isspace():
            tex += " "
        else:
            tex = join(tex, text_tex(part))
    return tex
