"""One start tag as the walker sees it: its name and what its attributes say about its content."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from nautiloid.curate.extract import _words as words
from nautiloid.curate.extract._memo import Memo

# Quotes around every value and `<`, `>`, `"` escaped inside: the serialiser's own form.
_ATTRIBUTE = re.compile(r'([^\s="]+)="([^"]*)"')
_HIDDEN_STYLE = re.compile(r"(?i)(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)")
_PRE_STYLE = re.compile(r"(?i)(?:^|;)\s*white-space\s*:\s*pre(?!-line)")


# Elements whose id is given by a theme.
_FRAMES = words.names(
    "div aside ul ol table tbody tr td p footer header form main article center nav menu frameset"
)


class Role(IntEnum):
    """What a part of the page is for."""

    PLAIN = 0
    HIDDEN = 1
    CHROME = 2
    GUTTER = 3
    WEAK = 4
    COMMENTS = 5
    # Content, the surest first.
    MAIN = 6
    MAIN_2 = 7
    MAIN_3 = 8
    MAIN_4 = 9
    MAIN_5 = 10


@dataclass(frozen=True, slots=True)
class Element:
    """A start tag.

    Args:
        name: Lower case.
        role: From classes, id, role and style, before the page as a whole is known.
        attributes: All of them, entities undone.
        classes: Tokens of `class`, lower case.
        language: Programming language that it names; None where it says nothing of code.
        is_listing: Whether white space counts inside, by class or style.
    """

    name: str
    role: Role
    attributes: dict[str, str]
    classes: frozenset[str]
    language: str | None
    is_listing: bool


def unescape(text: str) -> str:
    """Text of the serialiser without its five entities."""
    if "&" not in text:
        return text
    text = text.replace("&nbsp;", "\xa0").replace("&lt;", "<").replace("&gt;", ">")
    return text.replace("&quot;", '"').replace("&amp;", "&")


def _parse(tag: str) -> Element:
    name, _, rest = tag.partition(" ")
    attributes = {key: unescape(value) for key, value in _ATTRIBUTE.findall(rest)}
    classes = attributes.get("class", "").lower()
    tokens = frozenset(classes.split())
    named = _language(classes, tokens, attributes)
    is_listing = not words.LISTINGS.isdisjoint(tokens) or bool(
        _PRE_STYLE.search(attributes.get("style", ""))
    )
    role = _role(name, classes, attributes.get("id", ""), attributes)
    return Element(name, role, attributes, tokens, named, is_listing)


# Start tags by their source without angle brackets.
ELEMENTS = Memo(_parse)


def _role(name: str, classes: str, id_: str, attributes: dict[str, str]) -> Role:
    if name in ("html", "body"):
        return Role.PLAIN
    if "hidden" in attributes and attributes["hidden"] != "until-found":
        return Role.HIDDEN
    if attributes.get("aria-hidden") == "true" and name not in ("main", "article"):
        return Role.HIDDEN
    style = attributes.get("style")
    if style and _HIDDEN_STYLE.search(style):
        return Role.HIDDEN
    role = attributes.get("role", "").strip().lower()
    if name == "nav" or role in words.CHROME_ROLES:
        return Role.CHROME
    if name == "main" or role == "main":
        return Role.MAIN
    if attributes.get("itemprop", "").lower() in ("articlebody", "mainentity", "mainentityofpage"):
        return Role.MAIN
    # Ids of sections and terms are made of their titles: "search", "navigation", "related".
    is_frame = name in _FRAMES and "sect" not in classes
    found = by_words(classes, id_ if is_frame else "")
    if found is Role.PLAIN:
        if name == "article" or role == "article":
            return Role.MAIN_3
        is_note = role.startswith("doc-") or not words.NOTES.isdisjoint(classes.split())
        if name in ("aside", "footer", "header", "menu") and not is_note:
            return Role.WEAK
    return found


def by_words(classes: str, id_: str = "") -> Role:
    """Role that classes and an id name."""
    tokens = classes.split()
    id_ = id_.strip().lower()
    weak = id_ in words.WEAK
    for token in (*tokens, id_):
        if token in words.CHROME:
            return Role.CHROME
        if token in words.GUTTERS:
            return Role.GUTTER
        parts = words.PARTS.split(token)
        if len(parts) > 1 and not words.CHROME_PARTS.isdisjoint(parts):
            if words.FRAME_PARTS.isdisjoint(parts):
                return Role.CHROME
            weak = True
        elif token is not id_ and not words.WEAK.isdisjoint((token, *parts)):
            weak = True
    if not words.COMMENTS.isdisjoint((*tokens, id_)):
        return Role.COMMENTS
    for rank, names in enumerate(words.MAIN):
        if not names.isdisjoint((*tokens, id_)):
            return Role(Role.MAIN_2 + rank)
    return Role.WEAK if weak else Role.PLAIN


def _language(classes: str, tokens: frozenset[str], attributes: dict[str, str]) -> str | None:
    named = (
        attributes.get("data-lang")
        or attributes.get("data-language")
        or attributes.get("lang-name")
    )
    if not named:
        match = words.LANGUAGE.search(classes)
        named = match.group(1) if match else min(_LANGUAGE_CLASSES & tokens, default=None)
        if named is None:
            return None
    named = named.strip().lower()
    named = words.LANGUAGES.get(named, named)
    return named if len(named) < 24 and named.isprintable() and " " not in named else None


# Classes that are the name of the language itself, beside `sourceCode`, `hljs`, `rust`.
_LANGUAGE_CLASSES = words.names(
    """
    python rust haskell javascript typescript java cpp csharp c fortran julia matlab octave ruby
    perl php scala kotlin swift golang lua sql bash yaml json xml html css latex tex ocaml
    scheme lisp mathematica sage maxima gap
    """
)
