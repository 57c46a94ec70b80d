"""One pass over the tags of a page, start to end: blocks of Markdown text and the spans around them.

The parser has closed every element, so the list of tags is balanced, and depth costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from nautiloid.curate.extract import _cells, _flow, _line
from nautiloid.curate.extract import _inline as inline
from nautiloid.curate.extract._element import ELEMENTS, Role, by_words
from nautiloid.curate.extract._listing import listing
from nautiloid.curate.extract._memo import Memo
from nautiloid.curate.extract._tokens import Tokens
from nautiloid.curate.extract._words import BEFORE, TITLES
from nautiloid.curate.extract._writer import Writer
from nautiloid.curate.math.formula import OPEN
from nautiloid.curate.math.recover import Recovery

# What is around these is no chrome: titled boxes, which DocBook and docutils call sidebars, and content.
_KEPT = ("sidebar-title", "titlepage", 'role="main"', 'itemprop="articleBody"')

# Elements of more text than this share of the page are content, whatever their class says.
CHROME_SHARE = 0.4
HIDDEN_SHARE = 0.7
_SMALL_SHARE = 0.12

# Reads the tag at an index and returns the index to go on with.
Action = Callable[[Writer, int], int]


def walk(tokens: Tokens, recovery: Recovery, keeps_all: bool = False) -> Writer:
    """Read a page.

    Args:
        tokens: The page.
        recovery: Finds delimited formulas in the text of a block.
        keeps_all: Leave navigation and other chrome in.
    """
    page = Writer(tokens, recovery, keeps_all)
    texts, buffer = tokens.texts, page.buffer
    append = buffer.append
    steps = list(map(_STEPS.__getitem__, tokens.tags))
    at, count = 0, len(steps)
    while at < count:
        # White space between blocks would only be thrown away.
        if (text := texts[at]) and (buffer or not text.isspace()):
            append(text)
        step = steps[at]
        at = at + 1 if step is None else step(page, at)
    if texts[count]:
        append(texts[count])
    page.flush()
    return page


def _start(page: Writer, at: int) -> int:
    """A start tag whose attributes matter."""
    tag, name = page.tokens.tags[at], page.names[at]
    action = ACTIONS.get(name)
    role = Role.PLAIN
    if name == "a":
        position = tag.index('class="') + 7
        role = _LINK_ROLES[tag[position : tag.index('"', position)].lower()]
    else:
        page.element = ELEMENTS[tag]
        role = page.element.role
    if Role.HIDDEN <= role <= Role.GUTTER and name not in inline.VOID:
        behind = _behind(page, at, name, role)
        if behind is not None:
            page.element = None
            return behind
        role = Role.WEAK
    if action is None:
        at = _run_on(page, at)
        page.element = None
        return at
    page.role = role
    at = action(page, at)
    page.role, page.element = Role.PLAIN, None
    return at


def _run_on(page: Writer, at: int) -> int:
    """An inline element with attributes: what its class shows in front of it."""
    classes = page.element.classes if page.element is not None else ()
    for name in classes:
        if name in BEFORE:
            page.buffer.append(BEFORE[name])
        elif name == "ltx_note_outer":
            stop = page.tokens.end(at)
            page.buffer.append(f" ({page.tokens.text(at, stop).strip().lstrip('0123456789')})")
            return stop + 1
    return at + 1


def _behind(page: Writer, at: int, name: str, role: Role) -> int | None:
    """Where to go on when the element is left out; None when it stays."""
    if page.keeps_all and role is Role.CHROME:
        return None
    tokens = page.tokens
    stop = tokens.end(at)
    if name == "a":
        return stop + 1
    if role is Role.GUTTER:
        return stop + 1 if tokens.is_number(at, stop) else None
    share = tokens.share(at, stop)
    if role is Role.HIDDEN:
        return stop + 1 if share < HIDDEN_SHARE else None
    has_formula = OPEN in tokens.text(at, stop)
    inside = ">".join(tokens.tags[at:stop])
    if any(mark in inside for mark in _KEPT):
        return None
    if share < _SMALL_SHARE and not has_formula:
        return stop + 1
    within = set(page.names[at + 1 : stop])
    if "main" in within or ("article" in within and share > CHROME_SHARE):
        return None
    linked = tokens.link_share(at, stop)
    if name == "nav" or linked > 0.4:
        return stop + 1 if share < HIDDEN_SHARE or linked > 0.7 else None
    if share > CHROME_SHARE or "pre" in within or has_formula:
        return None
    return stop + 1


def _pass(page: Writer, at: int) -> int:
    return at + 1


def _actions() -> dict[str, Action]:
    """What each tag does; those that are not here run on."""
    pairs: dict[str, tuple[Action, Action]] = {
        **dict.fromkeys(inline.CONTAINERS, (_flow.open_container, Writer.close)),
        **dict.fromkeys(inline.BREAKING, (_flow.end_line, _flow.end_line)),
        **dict.fromkeys(inline.LEFT_OUT, (_flow.leave_out, _pass)),
        "p": (_flow.open_paragraph, _flow.close_paragraph),
        **{f"h{level}": (_flow.open_heading, _flow.close_heading) for level in range(1, 7)},
        **dict.fromkeys(("ul", "ol", "menu", "dir"), (_flow.open_list, Writer.close)),
        "li": (_flow.open_item, Writer.close),
        "blockquote": (_flow.open_quotation, Writer.close),
        "dt": (_flow.open_term, Writer.close),
        "dd": (_flow.open_definition, Writer.close),
        "table": (_cells.open_table, _cells.close_table),
        "tr": (_cells.open_row, _flow.end_line),
        **dict.fromkeys(("td", "th"), (_cells.open_cell, _cells.close_cell)),
        **dict.fromkeys(("pre", "listing"), (listing, _pass)),
        **dict.fromkeys(("code", "tt", "kbd", "samp"), (_line.open_code, _line.close_code)),
        **dict.fromkeys(("sup", "sub"), (_line.open_mark, _line.close_script)),
        "a": (_line.open_link, _line.close_link),
        "q": (_line.quote, _line.quote),
        "br": (_line.line_break, _pass),
    }
    return {
        slash + name: action
        for name, both in pairs.items()
        for slash, action in zip(("", "/"), both, strict=True)
    }


ACTIONS = _actions()

# Attributes that actions read.
_READ = frozenset(("start", "colspan", "rowspan"))


def _step(tag: str) -> Action | None:
    """What a tag does, attributes considered; None where it runs on."""
    name, _, rest = tag.partition(" ")
    action = ACTIONS.get(name)
    if not rest:
        return action
    if name == "a":
        return _start if 'class="' in rest else _line.open_plain_link
    element = ELEMENTS[tag]
    classes = element.classes
    if action is None:
        shows = "ltx_note_outer" in classes or not BEFORE.keys().isdisjoint(classes)
        goes = Role.HIDDEN <= element.role <= Role.GUTTER
        return _start if shows or goes else None
    matters = (
        element.role is not Role.PLAIN
        or element.is_listing
        or element.language is not None
        or name == "table"
        or "hbar" in classes
        or not TITLES.isdisjoint(classes)
        or not _READ.isdisjoint(element.attributes)
    )
    return _start if matters else action


_STEPS = Memo(_step)
_LINK_ROLES = Memo(by_words)
