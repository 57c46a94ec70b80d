"""Token elements: identifiers, numbers, operators, text."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from nautiloid.curate.math.pieces import Piece
from nautiloid.curate.math.spaces import WIDTHS, space, width_tex
from nautiloid.curate.math.symbols import (
    FUNCTIONS,
    alphanumeric,
    font_of,
    is_named,
    quoted,
    text_tex,
)
from nautiloid.curate.math.tree import Element

_SHORT = 12
_OPENERS = {"(": "(", "[": "[", "{": "\\{", "\u27e8": "\\langle", "\u2329": "\\langle",
            "\u3008": "\\langle", "\u2308": "\\lceil", "\u230a": "\\lfloor", "\u27e6": "[\\![",
            "\u301a": "[\\![", "\u27ee": "\\lgroup", "\u23b0": "\\lmoustache"}  # fmt: skip
_CLOSERS = {")": ")", "]": "]", "}": "\\}", "\u27e9": "\\rangle", "\u232a": "\\rangle",
            "\u3009": "\\rangle", "\u2309": "\\rceil", "\u230b": "\\rfloor", "\u27e7": "]\\!]",
            "\u301b": "]\\!]", "\u27ef": "\\rgroup", "\u23b1": "\\rmoustache"}  # fmt: skip
_BARS = {"|": "|", "\u2223": "|", "\u2758": "|", "\u2225": "\\|", "\u2016": "\\|", "||": "\\|"}
_LARGE = frozenset(
    "\u2211\u220f\u2210\u222b\u222c\u222d\u222e\u222f\u2230\u22c0\u22c1\u22c2\u22c3"
    "\u2a00\u2a01\u2a02\u2a03\u2a04\u2a05\u2a06\u2a0c"
)
_BINARY = frozenset(
    "+-*/\u2212\u00b1\u2213\u00d7\u00f7\u22c5\u00b7\u2217\u2218\u2295\u2297\u2227\u2228\u222a\u2229\u2216\u2219\u2a2f\u2293\u2294\u2296\u2299\u22c6\u2215"
)
_SPACED = _BINARY - frozenset("/*\u2215\u2217")
_PUNCTUATION = frozenset(",;:.!?")
_INVISIBLE = frozenset("\u2061\u2062\u2063\u2064")
_NUMBER_FONT_LESS = frozenset(("normal", "italic"))


def token(element: Element) -> Piece:
    """The piece of one token element."""
    if len(element.text) <= _SHORT:
        return _short(element.tag, element.text, tuple(element.attributes.items()))
    return _made(element)


@lru_cache(maxsize=8192)
def _short(tag: str, text: str, attributes: tuple[tuple[str, str | None], ...]) -> Piece:
    # Pages repeat the same few letters and signs; a piece is a value.
    return _made(Element(tag, dict(attributes), text=text))


def _made(element: Element) -> Piece:
    tag = element.tag
    if tag == "mo":
        return _operator(element)
    if tag == "mi":
        return _identifier(element)
    if tag == "mn":
        return _number(element)
    if tag in ("mtext", "ms"):
        return _text(element)
    if tag == "mspace":
        return space(element)
    if tag == "mglyph":
        return Piece(quoted(element.get("alt")))
    if tag == "mtag":
        number = element.text.removeprefix("(").removesuffix(")")
        return Piece(f" \\tag{{{number}}}", kind="space")
    if tag == "annotation":
        return Piece("")
    return Piece(text_tex(element.text.strip()))


def _variant(element: Element) -> str:
    """The `mathvariant` of a token, from MathML 1 attributes where it has none."""
    variant = element.get("mathvariant").lower()
    if not variant and element.get("fontweight") == "bold":
        variant = "bold" if element.get("fontstyle") != "italic" else "bold-italic"
    if not variant and element.get("fontstyle") == "normal":
        variant = "normal"
    return variant


def _identifier(element: Element) -> Piece:
    text = unicodedata.normalize("NFC", element.text.strip())
    if not text:
        return Piece("", kind="empty")
    if text in _BARS:
        return Piece(_BARS[text], kind="bar", raw=text, is_stretchy=False)
    if text in _INVISIBLE:
        return Piece("", kind="apply" if text == "\u2061" else "empty")
    if text in ("\u2032", "\u2033", "\u2034", "'", "''"):
        return Piece(text_tex(text), kind="prime", raw=text)
    if "loose" in element.attributes and len(text) > 1 and not text.isalpha():
        return Piece(text_tex(text), is_group=False)
    variant = _variant(element)
    font = font_of(variant)
    if len(text) == 1:
        if variant in ("", "italic") or font is None or font == "":
            return Piece(text_tex(text), raw=text)
        if variant == "normal" and not (text.isascii() and text.isalpha()):
            return Piece(text_tex(text), raw=text)
        if variant == "bold" and not text.isascii():
            font = "\\boldsymbol"
        return Piece(
            f"{font}{{{text_tex(text)}}}", raw=text, parts=(font, text_tex(text)), kind="font"
        )
    word = text.replace("\u2009", " ").replace("\xa0", " ")
    if word.replace(" ", "") in FUNCTIONS and variant in ("", "normal"):
        name = word.replace(" ", "")
        tex = f"\\{name}" if is_named(name) else f"\\operatorname{{{name}}}"
        return Piece(tex, kind="function", raw=name)
    if all(alphanumeric(char) for char in text):
        return Piece(text_tex(text), raw=text, is_group=False)
    if not any(char.isalpha() for char in text):
        return Piece(text_tex(text), raw=text, is_group=False)
    if not text.isascii() and len(text) <= 2:
        return Piece(text_tex(text), raw=text, is_group=False)
    if variant == "italic":
        font = "\\mathit"
    elif variant in ("", "normal") or not font:
        font = "\\mathrm"
        inner = word_tex(word)
        return Piece(f"{font}{{{inner}}}", kind="word", raw=word, parts=(font, inner))
    inner = word_tex(word)
    return Piece(f"{font}{{{inner}}}", raw=word, parts=(font, inner), kind="font")


def word_tex(word: str) -> str:
    """A word for the braces of a font command."""
    return text_tex(word).replace(" ", "\\ ") if " " in word else text_tex(word)


def _number(element: Element) -> Piece:
    text = element.text.strip()
    variant = _variant(element)
    font = font_of(variant)
    tex = text_tex(" ".join(text.split()))
    if font and variant not in _NUMBER_FONT_LESS:
        return Piece(f"{font}{{{tex}}}", raw=text, parts=(font, tex), kind="font")
    return Piece(tex, raw=text, kind="number")


def _stretchy(element: Element) -> bool | None:
    value = element.get("stretchy")
    if value == "false":
        return False
    if value == "true" or element.get("fence") == "true" or element.get("minsize"):
        return True
    return None


def _operator(element: Element) -> Piece:
    text = unicodedata.normalize("NFC", element.text.strip())
    if not text:
        # MathJax writes \right. so; a space otherwise.
        is_fence = element.get("fence") == "true"
        return Piece("", kind="null" if is_fence else "empty", raw="")
    stretchy = _stretchy(element)
    form = element.get("form")
    accent = element.get("stretchy")
    if text in _BARS:
        kind = {"prefix": "open", "postfix": "close"}.get(form, "bar")
        return Piece(_BARS[text], kind=kind, raw=text, is_stretchy=stretchy, accent=accent)
    if text in _OPENERS:
        return Piece(
            _OPENERS[text],
            kind="open" if form != "postfix" else "close",
            raw=text,
            is_stretchy=stretchy,
            accent=accent,
        )
    if text in _CLOSERS:
        return Piece(
            _CLOSERS[text],
            kind="close" if form != "prefix" else "open",
            raw=text,
            is_stretchy=stretchy,
            accent=accent,
        )
    if text in _INVISIBLE:
        return Piece("", kind="apply" if text == "\u2061" else "empty", raw=text)
    if text in _LARGE:
        return Piece(text_tex(text), kind="large", raw=text, is_tall=True)
    if text in ("\u2032", "\u2033", "\u2034", "\u2057", "'", "''", "'''"):
        return Piece(text_tex(text), kind="prime", raw=text)
    if text in _PUNCTUATION:
        return Piece(text, kind="punctuation", raw=text)
    word = "".join(text.split())
    if len(word) > 1 and word.isalpha() and word.isascii():
        if word == "mod":
            return Piece("\\bmod ", kind="word", raw="mod", parts=("\\mathrm", "mod"))
        if word in FUNCTIONS:
            tex = f"\\{word}" if is_named(word) else f"\\operatorname{{{word}}}"
            return Piece(tex, kind="function", raw=word, is_tall=FUNCTIONS[word])
        return Piece(f"\\operatorname{{{word}}}", kind="function", raw=word)
    tex = text_tex(text)
    if word in _BINARY:
        return Piece(tex, kind="binary" if word in _SPACED else "slash", raw=word, accent=accent)
    kind = "relation" if not (len(word) == 1 and word.isalnum()) else "ord"
    if word in (
        "\u2026",
        "\u22ef",
        "\u22ee",
        "\u22f1",
        "!",
        "\u00ac",
        "\u2200",
        "\u2203",
        "\u2207",
        "\u2202",
        "\u221e",
        "\u221a",
        "%",
        "#",
        "&",
        "$",
        "_",
        "\u00b0",
        "@",
        "`",
        '"',
        "\u2044",
    ):
        kind = "ord"
    return Piece(tex, kind=kind, raw=word, accent=accent)


_TEXT_FONTS = {
    "bold": "\\textbf",
    "italic": "\\textit",
    "monospace": "\\texttt",
    "sans-serif": "\\textsf",
    "bold-italic": "\\textbf",
}


def _text(element: Element) -> Piece:
    text = element.text
    stripped = text.strip()
    if not stripped:
        # KaTeX writes spaces as characters of their widths.
        width = sum(WIDTHS.get(char, 0.0) for char in text)
        blank = "\\ " if text else ""
        return Piece(width_tex(width) or blank, kind="space")
    command = _TEXT_FONTS.get(element.get("mathvariant"), "\\text")
    if element.tag == "ms":
        left = element.attributes.get("lquote") or '"'
        right = element.attributes.get("rquote") or '"'
        return Piece(quoted(left + stripped + right), kind="text")
    # White space beside the words is set in TeX; MathML drops what is not a no-break space.
    head = " " if text[0] in " \xa0" else ""
    tail = " " if text[-1] in " \xa0" else ""
    return Piece(
        quoted(head + " ".join(stripped.split()) + tail, command), kind="text", raw=stripped
    )
