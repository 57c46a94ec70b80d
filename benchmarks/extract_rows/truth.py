"""What a page holds, read off the structure that its generator wrote, with lxml: no extractor is asked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import lxml.etree
import lxml.html

# Elements of lxml are typed Any: its stubs are partial.
WORD = re.compile(r"[^\W\d_]{2,}")
DELIMITED = re.compile(
    r"\\\((?P<inline>.+?)\\\)|\\\[(?P<display>.+?)\\\]|\$\$(?P<dollars>.+?)\$\$", re.DOTALL
)
DOLLAR = re.compile(r"(?<!\\)\$(?=\S)(?P<dollar>[^$\n]{1,600}?)(?<=[^\s\\])\$(?!\d)")


@dataclass(frozen=True)
class Site:
    """Where a generator puts things, as XPath; of `main` the first that a page has."""

    main: tuple[str, ...]
    chrome: tuple[str, ...] = ()
    has_dollars: bool = False


@dataclass(frozen=True)
class Formula:
    """TeX that a page states, and whether it is displayed."""

    tex: str
    is_display: bool


@dataclass(frozen=True)
class Truth:
    """What an extraction is compared with.

    Args:
        words: Of the main text, formulas and code included in neither.
        chrome: Words of the rest of the page.
        formulas: In the main text.
        codes: Listings of at least two lines, as lines.
        chars: Length of the main text.
        has_others: Whether there is MathML without TeX.
    """

    words: Counter[str]
    chrome: Counter[str]
    formulas: tuple[Formula, ...]
    codes: tuple[tuple[str, ...], ...]
    chars: int
    has_others: bool


def has_class(name: str) -> str:
    """XPath condition."""
    return f'contains(concat(" ", normalize-space(@class), " "), " {name} ")'


SPHINX = Site(
    (
        '//*[@itemprop="articleBody"]',
        '//*[@role="main"]',
        "//main",
        f"//div[{has_class('body')}]",
    ),
    (
        f"//a[{has_class('headerlink')}]",
        f"//*[{has_class('viewcode-link')} or {has_class('viewcode-back')}]",
        f"//*[{has_class('prev-next-area')} or {has_class('sphx-glr-footer')}]",
        f"//*[{has_class('linenos')} or {has_class('linenodiv')}]",
        f"//*[{has_class('bd-sidebar')} or {has_class('bd-toc')} or {has_class('sphinxsidebar')}]",
    ),
)
DOXYGEN = Site(
    (f"//div[{has_class('headertitle')}] | //div[{has_class('contents')}]",),
    (
        f"//*[{has_class('ingroups')} or {has_class('summary')} or {has_class('ttc')}]",
        f"//*[{has_class('dynheader')} or {has_class('dyncontent')} or {has_class('lineno')}]",
        f"//span[{has_class('permalink')}]",
        f"//*[{has_class('toc')}]",
    ),
)
GAPDOC = Site(
    ("//body",),
    (
        f"//*[{has_class('chlinktop')} or {has_class('chlinkprevnexttop')}]",
        f"//*[{has_class('chlinkprevnextbot')} or {has_class('ChapSects')} or {has_class('foot')}]",
        '//*[@id="mathjaxlink"]',
    ),
)
DOCBOOK = Site(
    ("//body",),
    (
        f"//*[{has_class('navheader')} or {has_class('navfooter')} or {has_class('docnav')}]",
        f"//*[{has_class('toc')}]",
        '//body/p[@id="title"] | //*[@role="banner"]',
    ),
)
SITES = {
    "libeigen3-doc": DOXYGEN,
    "geographiclib-doc": DOXYGEN,
    "libitpp-doc": DOXYGEN,
    "libdune-istl-doc": DOXYGEN,
    "libgudhi-doc": DOXYGEN,
    "libppl-doc": DOXYGEN,
    "singular-doc": DOXYGEN,
    "gap-doc": GAPDOC,
    "postgresql-doc-15": DOCBOOK,
    "debian-handbook": DOCBOOK,
    "libigraph-doc": DOCBOOK,
    "giac-doc": Site(("//body",), ("//body/a[img]", f"//*[{has_class('toc')}]")),
    "macaulay2-common": Site(
        ("//body/div[h1]", "//body/div[last()]", "//body"),
        (f"//table[{has_class('buttons')}]",),
        has_dollars=True,
    ),
    "nlopt-doc": Site(
        ('//*[@role="main"]',), (f"//*[{has_class('headerlink')}]",), has_dollars=True
    ),
    "rust-doc": Site(
        ('//*[@id="main-content"]', '//*[@id="content"]/main', "//main", "//body"),
        (
            f"//*[{has_class('src')} or {has_class('srclink')} or {has_class('out-of-band')}]",
            f"//*[{has_class('line-numbers')} or {has_class('src-line-numbers')} or {has_class('hideme')} or {has_class('nav-wrapper')}]",
            "//nav | //button | //a[@class='anchor' or @class='test-arrow']",
            '//*[@id="copy-path"]',
        ),
    ),
    "anarchism": Site(("//body",), (f"//*[{has_class('book-navigation')}]",)),
    "axiom-doc": Site((f"//div[{has_class('section')}]", "//body"), ("//body/title | //title",)),
}
INVISIBLE = (
    "//script | //style | //noscript | //template | //head | //textarea | //select | //button",
    '//*[contains(translate(@style, " ", ""), "display:none")]',
)


def of(package: str, html: str) -> Truth | None:
    """The truth of a page; None where its generator left no main text to find."""
    site = SITES.get(package, SPHINX)
    root = lxml.html.fromstring(html.encode(), parser=lxml.html.HTMLParser(encoding="utf-8"))
    whole = deepcopy(root)
    _drop(whole, INVISIBLE)
    mains = next((found for path in site.main if (found := root.xpath(path))), [])
    mains = [element for element in mains if not any(a in mains for a in element.iterancestors())]
    if not mains:
        return None
    holder = lxml.html.Element("div")
    for main in mains:
        holder.append(deepcopy(main))
    _drop(holder, (*INVISIBLE, *site.chrome))
    formulas = _formulas(holder, site.has_dollars)
    codes = tuple(_codes(holder))
    chars = len(_text(holder))
    words = Counter(WORD.findall(_text(holder).lower()))
    if sum(words.values()) < 20:
        return None
    has_others = any(not element.xpath(".//annotation") for element in holder.iter("math"))
    everything = Counter(WORD.findall(_text(whole).lower()))
    outside = everything - Counter(WORD.findall(_text(holder).lower()))
    for element in holder.xpath(f".//math | .//pre | .//div[{has_class('fragment')}]"):
        if element.getparent() is not None:
            element.drop_tree()
    prose = without_tex(_text(holder), formulas, has_others)
    main_words = Counter(WORD.findall(prose.lower()))
    return Truth(main_words, outside - main_words, tuple(formulas), codes, chars, has_others)


def without_tex(text: str, formulas: Sequence[Formula], has_others: bool = False) -> str:
    """Text without the TeX of known formulas, delimited or bare: what words are counted in.

    Args:
        text: Of a page or of a tool.
        formulas: The known ones.
        has_others: Whether the page has formulas without TeX, whose words nobody can know.
    """
    known = {"".join(formula.tex.split()) for formula in formulas}

    def words_of(match: re.Match[str]) -> str:
        tex = next(group for group in match.groups() if group is not None)
        return " " if has_others or "".join(tex.split()) in known else match.group(0)

    text = re.sub(r"\[MATH:.*?:MATH\]", " ", text, flags=re.DOTALL)
    text = DOLLAR.sub(words_of, DELIMITED.sub(words_of, text))
    for formula in sorted(formulas, key=lambda formula: -len(formula.tex)):
        if len(formula.tex) > 3:
            text = text.replace(formula.tex, " ")
    return text


def _drop(root: Any, paths: Iterable[str]) -> None:
    for path in paths:
        for element in root.xpath(path.replace("//", ".//") if root.getparent() is None else path):
            if element.getparent() is not None:
                element.drop_tree()


def _text(root: Any) -> str:
    """Text with a space around every element that is not inline."""
    parts: list[str] = []
    for kind, element in lxml.etree.iterwalk(root, events=("start", "end", "comment", "pi")):
        if not isinstance(element.tag, str):
            if kind == "comment" and element.tail:
                parts.append(element.tail)
            continue
        # Styles set a parameter and its type apart.
        if element.tag not in _INLINE or element.get("class") == "classifier":
            parts.append("\n")
        if kind == "start":
            parts.append(element.text or "")
        else:
            parts.append(element.tail or "")
    return "".join(parts)


_INLINE = frozenset(
    [
        "a",
        "b",
        "i",
        "u",
        "em",
        "strong",
        "span",
        "code",
        "tt",
        "kbd",
        "samp",
        "var",
        "sub",
        "sup",
        "small",
        "big",
        "font",
        "cite",
        "dfn",
        "abbr",
        "q",
        "mark",
        "wbr",
    ]
)


def _formulas(root: Any, has_dollars: bool) -> list[Formula]:
    found: list[Formula] = []
    for image in root.xpath(".//img"):
        classes = (image.get("class") or "").split()
        alt = image.get("alt") or ""
        above = [a.get("class") or "" for a in image.iterancestors("div")][:1]
        is_shown = "math" in " ".join(above).split()
        if alt and (is_shown or {"math", "formulaInl", "formulaDsp"} & set(classes)):
            is_display = is_shown or "formulaDsp" in classes
            found.append(_formula(alt, is_display))
    for element in root.iter("math"):
        for note in element.iter("annotation"):
            if "tex" in (note.get("encoding") or "").lower() and note.text:
                found.append(_formula(note.text, element.get("display") == "block"))
    rest = deepcopy(root)
    for element in rest.xpath(".//pre | .//code | .//math | .//tt"):
        element.drop_tree()
    text = _text(rest)
    for match in DELIMITED.finditer(text):
        tex = next(group for group in match.groups() if group is not None)
        found.append(_formula(tex, match.lastgroup != "inline"))
    if has_dollars:
        for match in DOLLAR.finditer(DELIMITED.sub(" ", text)):
            found.append(_formula(match["dollar"], False))
    return [formula for formula in found if formula.tex]


def _formula(tex: str, is_display: bool) -> Formula:
    """TeX without the delimiters that generators leave in `alt`."""
    tex = tex.strip()
    for left, right, shown in (
        ("\\[", "\\]", True),
        ("\\(", "\\)", None),
        ("$$", "$$", True),
        ("$", "$", None),
    ):
        if tex.startswith(left) and tex.endswith(right) and len(tex) > len(left + right):
            tex = tex[len(left) : -len(right)].strip()
            is_display = is_display or bool(shown)
            break
    return Formula(tex, is_display)


def _codes(root: Any) -> Iterable[tuple[str, ...]]:
    """Listings: `pre`, and Doxygen's lines."""
    for element in root.xpath(f".//pre[not(ancestor::pre)] | .//div[{has_class('fragment')}]"):
        if element.tag == "div":
            if element.xpath(".//pre"):
                continue
            text = "\n".join(
                line.text_content() for line in element.xpath(f".//div[{has_class('line')}]")
            )
        else:
            for line_break in element.xpath(".//br"):
                line_break.tail = "\n" + (line_break.tail or "")
            text = element.text_content()
        lines = tuple(
            line.replace("\xa0", " ").replace("\u200b", "").expandtabs(8).rstrip()
            for line in text.split("\n")
        )
        while lines and not lines[0]:
            lines = lines[1:]
        while lines and not lines[-1]:
            lines = lines[:-1]
        if sum(bool(line) for line in lines) >= 2:
            yield lines
