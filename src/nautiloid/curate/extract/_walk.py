"""One pass over the tags of a page, start to end: blocks of Markdown text and the spans around them.

The parser has closed every element, so the list of tags is balanced, and depth costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from nautiloid.curate.extract import _code as code
from nautiloid.curate.extract import _inline as inline
from nautiloid.curate.extract._block import Block, Kind, Span
from nautiloid.curate.extract._element import ELEMENTS, Element, Role, by_words, unescape
from nautiloid.curate.extract._memo import Memo
from nautiloid.curate.extract._table import Cell, Table
from nautiloid.curate.extract._tokens import BREAK, Tokens
from nautiloid.curate.extract._words import BEFORE, TITLES
from nautiloid.curate.math.formula import OPEN
from nautiloid.curate.math.recover import Recovery

_BREAKS = re.compile(f" ?{BREAK} ?")
# What themes put beside a heading to link to it.
_ANCHORS = re.compile(
    "^[\u25c6\u00b6\u00a7\U0001f517]+ *| *(?:[\u25c6\u00b6\u00a7\U0001f517]+| #)$"
)
_GAPS = re.compile(r"\n{3,}")
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u2060\ufeff\ue007-\uf8ff\x02-\x08\x0b\x0e-\x1f]")

# What is around these is no chrome: titled boxes, which DocBook and docutils call sidebars, and content.
_KEPT = ("sidebar-title", "titlepage", 'role="main"', 'itemprop="articleBody"')

# Elements of more text than this share of the page are content, whatever their class says.
CHROME_SHARE = 0.4
HIDDEN_SHARE = 0.7
_SMALL_SHARE = 0.12
_MAX_INDENT = 60
_SHORT = 200


@dataclass(slots=True)
class _Frame:
    """An open block element, and what its end restores."""

    name: str
    role: Role
    start: int
    lead: str | None
    indent: str
    heading: int
    language: str
    counter: int | None = None


class Walker:
    """Reads one page.

    Args:
        tokens: The page.
        recovery: Finds delimited formulas in the text of a block.
        keeps_all: Leave navigation and other chrome in.

    Attributes:
        blocks: In reading order.
        spans: Block elements in the order in which they end.
    """

    def __init__(self, tokens: Tokens, recovery: Recovery, keeps_all: bool = False):
        self.tokens = tokens
        self.names = tokens.names
        self.recovery = recovery
        self.keeps_all = keeps_all
        self.blocks: list[Block] = []
        self.spans: list[Span] = []
        self._buffer: list[str] = []
        self._flushes = 0
        self._frames: list[_Frame] = []
        self._tables: list[Table] = []
        self._element: Element | None = None
        self._role = Role.PLAIN
        self._heading = 0
        self._kind: int = Kind.TEXT
        self._lead: str | None = None
        self._indent = ""
        self._link: int | None = None
        self._link_chars = 0
        self._marks: list[tuple[int, int, int]] = []
        self._language = ""
        self._code_end = (-1, 0)
        self._code_depth = 0
        self._odd = tokens.odd
        self._paragraph: int | None = None
        self._has_delimiters = recovery.delimiters.backticks

    def walk(self) -> None:
        """Read everything."""
        texts, buffer = self.tokens.texts, self._buffer
        append = buffer.append
        steps = list(map(_STEPS.__getitem__, self.tokens.tags))
        at, count = 0, len(steps)
        while at < count:
            # White space between blocks would only be thrown away.
            if (text := texts[at]) and (buffer or not text.isspace()):
                append(text)
            step = steps[at]
            at = at + 1 if step is None else step(self, at)
        if texts[count]:
            append(texts[count])
        self._flush()

    def start(self, at: int) -> int:
        """A start tag whose attributes matter."""
        tag, name = self.tokens.tags[at], self.names[at]
        action = ACTIONS.get(name)
        role = Role.PLAIN
        if name == "a":
            position = tag.index('class="') + 7
            role = _LINK_ROLES[tag[position : tag.index('"', position)].lower()]
        else:
            self._element = ELEMENTS[tag]
            role = self._element.role
        if Role.HIDDEN <= role <= Role.GUTTER and name not in inline.VOID:
            behind = self._behind(at, name, role)
            if behind is not None:
                self._element = None
                return behind
            role = Role.WEAK
        if action is None:
            at = self._run_on(at)
            self._element = None
            return at
        self._role = role
        at = action(self, at)
        self._role, self._element = Role.PLAIN, None
        return at

    def _run_on(self, at: int) -> int:
        """An inline element with attributes: what its class shows in front of it."""
        classes = self._element.classes if self._element is not None else ()
        for name in classes:
            if name in BEFORE:
                self._buffer.append(BEFORE[name])
            elif name == "ltx_note_outer":
                stop = self.tokens.end(at)
                self._buffer.append(f" ({self.tokens.text(at, stop).strip().lstrip('0123456789')})")
                return stop + 1
        return at + 1

    def _behind(self, at: int, name: str, role: Role) -> int | None:
        """Where to go on when the element is left out; None when it stays."""
        if self.keeps_all and role is Role.CHROME:
            return None
        tokens = self.tokens
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
        within = set(self.names[at + 1 : stop])
        if "main" in within or ("article" in within and share > CHROME_SHARE):
            return None
        linked = tokens.link_share(at, stop)
        if name == "nav" or linked > 0.4:
            return stop + 1 if share < HIDDEN_SHARE or linked > 0.7 else None
        if share > CHROME_SHARE or "pre" in within or has_formula:
            return None
        return stop + 1

    # Blocks

    def _flush(self) -> None:
        """Make a block of the text since the last one."""
        buffer = self._buffer
        if not buffer:
            return
        self._flushes += 1
        links = self._link_chars
        if self._link is not None:
            links += sum(map(len, buffer[self._link :]))
            self._link = 0
        self._link_chars = 0
        raw = "".join(buffer)
        buffer.clear()
        if raw.isspace():
            return
        text = self._clean(raw)
        if text:
            self._add(text, Kind.HEADING + self._heading if self._heading else self._kind, links)

    def _clean(self, raw: str) -> str:
        text = unescape(raw).replace("\n", " ").strip()
        if len(text) < _SHORT:
            is_plain = text.isprintable()
        else:
            # A look at each character costs more than the few that can matter in a paragraph.
            is_plain = BREAK not in text and not any(char in text for char in self._odd)
        if not is_plain or "  " in text:
            text = " ".join(text.split())
        if not is_plain:
            if BREAK in text:
                text = _GAPS.sub("\n\n", _BREAKS.sub("\n", text).strip())
                if self._heading:
                    text = " ".join(text.split())
            text = _INVISIBLE.sub("", text).strip()
        if self._heading:
            text = _ANCHORS.sub("", text)
        return self.recovery.in_text(text)

    def _add(self, text: str, kind: int, link_chars: int = 0) -> None:
        if kind > Kind.HEADING and self._lead is not None and self._lead.endswith("- "):
            self._unlist()
        lead, is_item = self._lead, self._lead is not None
        if lead is None:
            lead = self._indent
        elif kind != Kind.TEXT and lead.endswith(": "):
            # A definition that opens with a listing or a heading.
            lead, is_item = self._indent, False
        self._lead = None
        size = len(text)
        self.blocks.append(
            Block(text, kind, lead, self._indent, size, min(link_chars, size), is_item)
        )

    def _unlist(self) -> None:
        """Takes the marker and indentation of items away that a heading opens: they are sections."""
        base = self._indent
        for frame in reversed(self._frames):
            if frame.start < len(self.blocks) or (frame.lead is None and frame.name != "li"):
                break
            base = frame.indent
        for frame in self._frames:
            if frame.start == len(self.blocks) and len(frame.indent) > len(base):
                frame.indent = base
        self._lead, self._indent = None, base

    def _break(self, at: int) -> int:
        self._flush()
        return at + 1

    def _open_paragraph(self, at: int) -> int:
        self._flush()
        self._paragraph = len(self.blocks) if self._role is Role.WEAK else None
        return at + 1

    def _close_paragraph(self, at: int) -> int:
        self._flush()
        if self._paragraph is not None and self._paragraph < len(self.blocks):
            self.spans.append(Span("p", Role.WEAK, self._paragraph, len(self.blocks)))
        self._paragraph = None
        return at + 1

    def _line_break(self, at: int) -> int:
        self._buffer.append(f" {BREAK} ")
        return at + 1

    def _leave_out(self, at: int) -> int:
        return self.tokens.end(at) + 1

    def _push(self, at: int) -> _Frame:
        self._flush()
        frame = _Frame(
            self.names[at],
            self._role,
            len(self.blocks),
            self._lead,
            self._indent,
            self._heading,
            self._language,
        )
        self._frames.append(frame)
        return frame

    def _open(self, at: int) -> int:
        element = self._element
        if element is None:
            self._push(at)
            return at + 1
        if element.is_listing:
            return self._pre(at)
        self._push(at)
        if element.language is not None:
            self._language = element.language
        if not self._heading and not TITLES.isdisjoint(element.classes) and self._is_short(at):
            self._heading = 1
        return at + 1

    def _is_short(self, at: int) -> bool:
        """Whether the element at `at` is one line that could be the title of the page."""
        stop = self.tokens.end(at)
        if not inline.NOT_IN_TITLE.isdisjoint(self.names[at + 1 : stop]):
            return False
        return 0 < len(self.tokens.text(at, stop).strip()) < 200

    def _close(self, at: int) -> int:
        self._flush()
        if not self._frames:
            return at + 1
        frame = self._frames.pop()
        self._heading = frame.heading
        self._language = frame.language
        self._indent = frame.indent
        self._kind = Kind.TEXT
        if len(self.blocks) == frame.start:
            # Nothing came, so a marker that waits outside still waits.
            self._lead = frame.lead
        else:
            self._lead = None
            self.spans.append(Span(frame.name, frame.role, frame.start, len(self.blocks)))
        return at + 1

    def _open_heading(self, at: int) -> int:
        self._flush()
        self._heading = int(self.names[at][1])
        return at + 1

    def _close_heading(self, at: int) -> int:
        self._flush()
        self._heading = 0
        return at + 1

    # Lists and quotations

    def _open_list(self, at: int) -> int:
        frame = self._push(at)
        if frame.name == "ol":
            start = self._element.attributes.get("start", "1") if self._element else "1"
            frame.counter = int(start) if start.isdecimal() and len(start) < 7 else 1
        return at + 1

    def _open_item(self, at: int) -> int:
        outer = self._frames[-1] if self._frames else None
        self._push(at)
        marker = "- "
        if outer is not None and outer.counter is not None:
            marker = f"{outer.counter}. "
            outer.counter += 1
        if len(self._indent) < _MAX_INDENT:
            self._lead = (self._indent if self._lead is None else self._lead) + marker
            self._indent += " " * len(marker)
        return at + 1

    def _open_quotation(self, at: int) -> int:
        self._push(at)
        if len(self._indent) < _MAX_INDENT:
            if self._lead is not None:
                self._lead += "> "
            self._indent += "> "
        return at + 1

    def _open_term(self, at: int) -> int:
        if self._frames:
            self._frames[-1].counter = 1
        self._push(at)
        self._kind = Kind.TERM
        return at + 1

    def _open_definition(self, at: int) -> int:
        # Without a term it is there for its indentation alone.
        has_term = bool(self._frames) and self._frames[-1].counter is not None
        self._push(at)
        self._kind = Kind.TEXT
        if has_term:
            self._lead = (self._indent if self._lead is None else self._lead) + ": "
        return at + 1

    # Tables

    def _open_table(self, at: int) -> int:
        if self._element is not None and self._element.is_listing:
            return self._pre(at)
        self._push(at)
        self._tables.append(Table(self._element, len(self.blocks), len(self.spans)))
        return at + 1

    def _open_row(self, at: int) -> int:
        self._flush()
        if self._tables:
            self._tables[-1].rows.append([])
        return at + 1

    def _open_cell(self, at: int) -> int:
        self._push(at)
        if not self._tables:
            return at + 1
        table = self._tables[-1]
        if not table.rows:
            table.rows.append([])
        here = len(self.blocks) - table.start
        cell = table.cell = Cell(here, here)
        if self._element is not None:
            attributes = self._element.attributes
            cell.columns = _number(attributes.get("colspan"))
            cell.rows = _number(attributes.get("rowspan"))
            cell.is_bar = "hbar" in self._element.classes
        table.rows[-1].append(cell)
        return at + 1

    def _close_cell(self, at: int) -> int:
        self._close(at)
        if self._tables and self._tables[-1].cell is not None:
            table = self._tables[-1]
            table.rows[-1][-1].stop = len(self.blocks) - table.start
        return at + 1

    def _close_table(self, at: int) -> int:
        self._flush()
        if self._tables:
            table = self._tables.pop()
            if len(self.blocks) > table.start:
                self._write(table)
        return self._close(at)

    def _write(self, table: Table) -> None:
        blocks = self.blocks[table.start :]
        layout = table.layout(blocks)
        if layout != "flow":
            self._replace(table, blocks, layout == "data")
        if self._tables and not (layout == "rows" and len(self.blocks) == table.start + 1):
            self._tables[-1].has_table = True

    def _replace(self, table: Table, blocks: list[Block], is_data: bool) -> None:
        """The blocks of a table by what is written in their place."""
        made = table.lines(blocks)
        if is_data:
            made = [(table.markdown(blocks), int(Kind.TABLE))]
            if caption := table.caption(blocks):
                made.insert(0, (caption, int(Kind.TEXT)))
        links, chars = sum(b.link_chars for b in blocks), sum(b.chars for b in blocks)
        first = blocks[0]
        self.blocks[table.start :] = [
            Block(text, kind, self._indent, self._indent, chars // len(made), links // len(made))
            for text, kind in made
        ]
        self.blocks[table.start].lead = first.lead if first.is_item else self._indent
        self.blocks[table.start].is_item = first.is_item
        del self.spans[table.first_span :]

    # Code

    def _pre(self, at: int) -> int:
        self._flush()
        stop = self.tokens.end(at)
        text = code.tidied(code.text_of(self.tokens, at, stop))
        if self._tables and code.is_gutter(text):
            return stop + 1
        if text:
            self._add(code.fenced(text, self._language_of(at, stop)), Kind.CODE)
        return stop + 1

    def _language_of(self, at: int, stop: int) -> str:
        """From the listing, the `code` inside it, or the element around it."""
        for index in range(at, min(at + 2, stop)):
            if language := ELEMENTS[self.tokens.tags[index]].language:
                return language
        return self._language

    def _open_code(self, at: int) -> int:
        if self._element is not None and self._element.is_listing:
            return self._pre(at)
        names, texts = self.names, self.tokens.texts
        closing = "/" + names[at]
        # Nearly all code is one text, or one span in it.
        if not self._code_depth:
            if names[at + 1] == closing:
                self._append_code(texts[at + 1])
                return at + 2
            if names[at + 1 : at + 4] == ["span", "/span", closing]:
                self._append_code("".join(texts[at + 1 : at + 4]))
                return at + 4
        # A key combination is a `kbd` of several.
        self._code_depth += 1
        return self._open_mark(at) if self._code_depth == 1 else at + 1

    def _open_mark(self, at: int) -> int:
        self._marks.append((self._flushes, len(self._buffer), self._link_chars))
        return at + 1

    def _content(self) -> str | None:
        """Text since the start tag, taken off the buffer; None when a block ended in between."""
        if not self._marks:
            return None
        flushes, start, _ = self._marks.pop()
        if flushes != self._flushes:
            return None
        text = "".join(self._buffer[start:])
        del self._buffer[start:]
        return text

    def _close_code(self, at: int) -> int:
        self._code_depth = max(0, self._code_depth - 1)
        if self._code_depth:
            return at + 1
        text = self._content()
        if text:
            self._append_code(text)
        return at + 1

    def _append_code(self, text: str) -> None:
        """Inline code; neighbours are one piece in several typefaces."""
        made = self._inline_code(text)
        buffer = self._buffer
        if self._code_end == (self._flushes, len(buffer)) and buffer[-1][-1:] == made[:1] == "`":
            made = buffer.pop()[:-1] + made[1:]
        buffer.append(made)
        self._code_end = (self._flushes, len(buffer))

    def _inline_code(self, text: str) -> str:
        if OPEN in text:
            return text
        if BREAK in text or self._heading or self._kind == Kind.TERM:
            return self._protected(text)
        stripped = text.strip()
        if not stripped:
            return text
        fence = "`" if "`" not in stripped else "``"
        made = self._protected(f"{fence}{stripped}{fence}")
        before = " " if text[0].isspace() else ""
        return before + made + (" " if text[-1].isspace() else "")

    def _protected(self, text: str) -> str:
        """Text in which nothing opens a formula."""
        if "$" in text or "\\" in text or "[" in text or self._has_delimiters:
            return self.recovery.protect(text)
        return text

    def _close_script(self, at: int) -> int:
        is_linked = bool(self._marks) and self._link_chars > self._marks[-1][2]
        text = self._content()
        if text:
            self._buffer.append(inline.script(text, self.names[at] == "/sup", is_linked))
        return at + 1

    def _quote(self, at: int) -> int:
        self._buffer.append('"')
        return at + 1

    def _open_link(self, at: int) -> int:
        self._link = len(self._buffer)
        return at + 1

    def open_plain_link(self, at: int) -> int:
        """A link without a class."""
        if self._buffer and self.names[at - 1] == "/a" and not self.tokens.texts[at]:
            self._buffer.append(" ")
        self._link = len(self._buffer)
        return at + 1

    def _close_link(self, at: int) -> int:
        if self._link is not None:
            self._link_chars += sum(map(len, self._buffer[self._link :]))
            self._link = None
        return at + 1


def _number(text: str | None) -> int:
    """A span of columns or rows, 1 where it is nonsense."""
    return min(int(text), 200) if text and text.isdecimal() and len(text) < 5 and text != "0" else 1


Action = Callable[[Walker, int], int]


def _pass(walker: Walker, at: int) -> int:
    return at + 1


def _actions() -> dict[str, Action]:
    """What each tag does; those that are not here run on."""
    w = Walker
    pairs: dict[str, tuple[Action, Action]] = {
        **dict.fromkeys(inline.CONTAINERS, (w._open, w._close)),
        **dict.fromkeys(inline.BREAKING, (w._break, w._break)),
        "p": (w._open_paragraph, w._close_paragraph),
        **dict.fromkeys(inline.LEFT_OUT, (w._leave_out, _pass)),
        **{f"h{level}": (w._open_heading, w._close_heading) for level in range(1, 7)},
        **dict.fromkeys(("code", "tt", "kbd", "samp"), (w._open_code, w._close_code)),
        **dict.fromkeys(("sup", "sub"), (w._open_mark, w._close_script)),
        **dict.fromkeys(("pre", "listing"), (w._pre, _pass)),
        **dict.fromkeys(("ul", "ol", "menu", "dir"), (w._open_list, w._close)),
        **dict.fromkeys(("td", "th"), (w._open_cell, w._close_cell)),
        "a": (w._open_link, w._close_link),
        "q": (w._quote, w._quote),
        "br": (w._line_break, _pass),
        "blockquote": (w._open_quotation, w._close),
        "li": (w._open_item, w._close),
        "dt": (w._open_term, w._close),
        "dd": (w._open_definition, w._close),
        "table": (w._open_table, w._close_table),
        "tr": (w._open_row, w._break),
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
        return Walker.start if 'class="' in rest else Walker.open_plain_link
    element = ELEMENTS[tag]
    classes = element.classes
    if action is None:
        shows = "ltx_note_outer" in classes or not BEFORE.keys().isdisjoint(classes)
        goes = Role.HIDDEN <= element.role <= Role.GUTTER
        return Walker.start if shows or goes else None
    matters = (
        element.role is not Role.PLAIN
        or element.is_listing
        or element.language is not None
        or name == "table"
        or "hbar" in classes
        or not TITLES.isdisjoint(classes)
        or not _READ.isdisjoint(element.attributes)
    )
    return Walker.start if matters else action


_STEPS = Memo(_step)
_LINK_ROLES = Memo(by_words)
