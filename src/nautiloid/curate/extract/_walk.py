"""One pass over the tags of a page, start to end: blocks of Markdown text and the spans around them.

The parser has closed every element, so its serialised tree is a flat, balanced list of texts and
tags; a Python loop over it is several times cheaper than one over node objects. Depth costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from nautiloid.curate.extract import _code as code
from nautiloid.curate.extract import _inline as inline
from nautiloid.curate.extract._block import Block, Kind, Span
from nautiloid.curate.extract._element import Element, Role, by_words, language, parse, unescape
from nautiloid.curate.extract._table import Cell, Table
from nautiloid.curate.extract._words import TITLES
from nautiloid.curate.math.formula import OPEN
from nautiloid.curate.math.recover import Recovery

# Stands for <br> until white space has been collapsed.
BREAK = "\x01"
_BREAKS = re.compile(f" ?{BREAK} ?")
_GAPS = re.compile(r"\n{3,}")
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u2060\ufeff\uf000-\uf8ff\x02-\x08\x0b\x0e-\x1f]")
# What cannot change how an element is treated, however long it is.
_TELLING = re.compile(
    r' (?:class|id|style|role|hidden|aria-hidden|itemprop|start|colspan|rowspan|value|data-lang)[= "]|hidden$'
)

# Elements of more text than this share of the page are content, whatever their class says.
CHROME_SHARE = 0.4
HIDDEN_SHARE = 0.7
_SMALL_SHARE = 0.12
_MAX_INDENT = 60

Action = Callable[[int], int]


@dataclass(slots=True)
class _Frame:
    """An open block element, and what its end restores."""

    name: str
    role: Role
    start: int
    lead: str | None
    indent: str
    heading: int
    counter: int | None = None


class Walker:
    """Reads one page.

    Args:
        texts: `texts[i]` stands before `tags[i]`; one more at the end.
        tags: Without angle brackets, as the serialiser writes them.
        recovery: Finds delimited formulas in the text of a block.
        keeps_all: Leave navigation and other chrome in.

    Attributes:
        blocks: In reading order.
        spans: Block elements in the order in which they end.
    """

    def __init__(
        self, texts: Sequence[str], tags: Sequence[str], recovery: Recovery, keeps_all: bool = False
    ):
        self.texts, self.tags = texts, tags
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
        self._sums: list[int] | None = None
        self._actions = self._table_of_actions()

    def walk(self, start: int = 0) -> None:
        """Read everything from tag `start` on."""
        texts, tags = self.texts, self.tags
        append = self._buffer.append
        get = self._actions.get
        at, count = start, len(tags)
        while at < count:
            if text := texts[at]:
                append(text)
            action = get(tags[at])
            if action is None:
                at = self._start(at)
            elif action is _pass:
                at += 1
            else:
                at = action(at)
        if texts[count]:
            append(texts[count])
        self._flush()

    def _table_of_actions(self) -> dict[str, Action]:
        actions: dict[str, Action] = {}
        for name in inline.IGNORED:
            actions[name] = actions["/" + name] = _pass
        for name in inline.CONTAINERS:
            actions[name], actions["/" + name] = self._open, self._close
        for name in inline.BREAKING:
            actions[name] = actions["/" + name] = self._break
        for level in range(1, 7):
            actions[f"h{level}"], actions[f"/h{level}"] = self._open_heading, self._close_heading
        for name in ("code", "tt", "kbd", "samp"):
            actions[name], actions["/" + name] = self._open_code, self._close_code
        for name in ("sup", "sub"):
            actions[name], actions["/" + name] = self._open_mark, self._close_script
        pairs: dict[str, tuple[Action, Action]] = {
            "a": (self._open_link, self._close_link),
            "q": (self._quote, self._quote),
            "pre": (self._pre, _pass),
            "listing": (self._pre, _pass),
            "blockquote": (self._open_quotation, self._close),
            "ul": (self._open_list, self._close_list),
            "menu": (self._open_list, self._close_list),
            "dir": (self._open_list, self._close_list),
            "ol": (self._open_list, self._close_list),
            "li": (self._open_item, self._close),
            "dt": (self._open_term, self._close),
            "dd": (self._open_definition, self._close),
            "table": (self._open_table, self._close_table),
            "tr": (self._open_row, self._break),
            "td": (self._open_cell, self._close_cell),
            "th": (self._open_cell, self._close_cell),
            "head": (self._leave_out, _pass),
            **dict.fromkeys(inline.LEFT_OUT, (self._leave_out, _pass)),
        }
        for name, (opened, closed) in pairs.items():
            actions[name], actions["/" + name] = opened, closed
        actions["br"] = self._line_break
        return actions

    # Start tags with attributes

    def _start(self, at: int) -> int:
        tag = self.tags[at]
        name, _, rest = tag.partition(" ")
        action = self._actions.get(name, _pass)
        role = Role.PLAIN
        element: Element | None = None
        if name == "a":
            if 'class="' in rest:
                position = tag.index('class="') + 7
                role = by_words(tag[position : tag.index('"', position)].lower())
                if role is Role.WEAK:
                    role = Role.PLAIN
        elif rest and _TELLING.search(" " + rest):
            element = parse(tag)
            role = element.role
        if Role.HIDDEN <= role <= Role.GUTTER and name not in inline.VOID:
            behind = self._behind(at, name, role)
            if behind is not None:
                return behind
            role = Role.WEAK
        if action is _pass:
            return at + 1
        self._role, self._element = role, element
        at = action(at)
        self._role, self._element = Role.PLAIN, None
        return at

    def _behind(self, at: int, name: str, role: Role) -> int | None:
        """Where to go on when the element is left out; None when it stays."""
        if self.keeps_all and role is Role.CHROME:
            return None
        stop = code.end(self.tags, at, name)
        inner = self.texts[at + 1 : stop + 1]
        if role is Role.GUTTER:
            text = "".join(inner)
            return (
                stop + 1
                if not text.strip() or text.replace("\n", "").replace(" ", "").isdecimal()
                else None
            )
        if self._sums is None:
            self._sums = [0, *accumulate(map(len, self.texts))]
        share = (self._sums[stop + 1] - self._sums[at + 1]) / max(1, self._sums[-1])
        if role is Role.HIDDEN:
            return stop + 1 if share < HIDDEN_SHARE else None
        if share < _SMALL_SHARE and not any(OPEN in text for text in inner):
            return stop + 1
        within = {tag.partition(" ")[0] for tag in self.tags[at + 1 : stop]}
        if "main" in within or ("article" in within and share > CHROME_SHARE):
            return None
        is_linked = inline.link_share(self.texts, self.tags, at, stop) > 0.4
        if is_linked or name == "nav":
            return stop + 1 if share < HIDDEN_SHARE else None
        if share > CHROME_SHARE or "pre" in within or any(OPEN in text for text in inner):
            return None
        return stop + 1

    # Blocks

    def _flush(self) -> None:
        """Make a block of the text since the last one."""
        buffer = self._buffer
        self._flushes += 1
        if not buffer:
            return
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
        text = " ".join(unescape(raw).split())
        if BREAK in text:
            text = _GAPS.sub("\n\n", _BREAKS.sub("\n", text).strip())
            if self._heading or self._tables:
                text = " ".join(text.split())
        if not text.isprintable():
            text = _INVISIBLE.sub("", text).strip()
        return self.recovery.in_text(text)

    def _add(self, text: str, kind: int, link_chars: int = 0) -> None:
        lead, is_item = self._lead, self._lead is not None
        if lead is None:
            lead = self._indent
        self._lead = None
        size = len(text)
        self.blocks.append(
            Block(text, kind, lead, self._indent, size, min(link_chars, size), is_item)
        )

    def _break(self, at: int) -> int:
        self._flush()
        return at + 1

    def _line_break(self, at: int) -> int:
        self._buffer.append(f" {BREAK} ")
        return at + 1

    def _leave_out(self, at: int) -> int:
        return code.end(self.tags, at, self.tags[at].partition(" ")[0]) + 1

    def _push(self, at: int) -> _Frame:
        self._flush()
        frame = _Frame(
            self.tags[at].partition(" ")[0],
            self._role,
            len(self.blocks),
            self._lead,
            self._indent,
            self._heading,
        )
        self._frames.append(frame)
        return frame

    def _open(self, at: int) -> int:
        element = self._element
        if element is not None:
            if (
                name := language(element.classes, element.attributes)
            ) or "highlight" in element.classes:
                self._language = name
            classes = element.classes.split()
            if "fragment" in classes or element.is_preformatted:
                return self._pre(at)
            self._push(at)
            if not TITLES.isdisjoint(classes) and not self._heading and self._is_short(at):
                self._heading = 1
            return at + 1
        self._push(at)
        return at + 1

    def _is_short(self, at: int) -> bool:
        """Whether the element at `at` is one line that could be the title of the page."""
        stop = code.end(self.tags, at, self.tags[at].partition(" ")[0])
        inner = self.tags[at + 1 : stop]
        if any(tag.partition(" ")[0] in inline.NOT_IN_TITLE for tag in inner):
            return False
        return 0 < sum(len(text.strip()) for text in self.texts[at + 1 : stop + 1]) < 200

    def _close(self, at: int) -> int:
        self._flush()
        if not self._frames:
            return at + 1
        frame = self._frames.pop()
        self._heading = frame.heading
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
        self._heading = int(self.tags[at][1])
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

    def _close_list(self, at: int) -> int:
        return self._close(at)

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
        self._push(at)
        self._kind = Kind.TERM
        return at + 1

    def _open_definition(self, at: int) -> int:
        self._push(at)
        self._kind = Kind.TEXT
        self._lead = (self._indent if self._lead is None else self._lead) + ": "
        return at + 1

    # Tables

    def _open_table(self, at: int) -> int:
        self._push(at)
        if self._tables:
            self._tables[-1].has_table = True
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
        attributes = self._element.attributes if self._element else {}
        if not table.rows:
            table.rows.append([])
        here = len(self.blocks) - table.start
        columns, rows = (_number(attributes.get(name)) for name in ("colspan", "rowspan"))
        table.cell = Cell(here, here, columns, rows, self.tags[at].startswith("th"))
        table.rows[-1].append(table.cell)
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
        if layout == "flow":
            return
        first = blocks[0]
        if layout == "data":
            lines = [table.markdown(blocks)]
        else:
            lines = table.lines(blocks)
        links, chars = sum(b.link_chars for b in blocks), sum(b.chars for b in blocks)
        kind = Kind.TABLE if layout == "data" else Kind.TEXT
        lead = first.lead if first.is_item else self._indent
        self.blocks[table.start :] = [
            Block(line, kind, self._indent, self._indent, chars // len(lines), links // len(lines))
            for line in lines
        ]
        self.blocks[table.start].lead = lead
        self.blocks[table.start].is_item = first.is_item
        del self.spans[table.first_span :]

    # Code

    def _pre(self, at: int) -> int:
        self._flush()
        tag = self.tags[at]
        name = tag.partition(" ")[0]
        stop = code.end(self.tags, at, name)
        text = code.tidied(code.text_of(self.texts, self.tags, at, stop))
        if text and not (self._tables and code.is_gutter(text)):
            self._add(code.fenced(text, self._language_of(at, stop)), Kind.CODE)
        self._language = ""
        return stop + 1

    def _language_of(self, at: int, stop: int) -> str:
        """From the listing, the `code` inside it, or the element around it."""
        for tag in self.tags[at : min(at + 2, stop)]:
            if " " in tag:
                element = parse(tag)
                if found := language(element.classes, element.attributes):
                    return found
        return self._language

    def _open_code(self, at: int) -> int:
        if self._element is not None and self._element.is_preformatted:
            return self._pre(at)
        return self._open_mark(at)

    # Inline

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
        text = self._content()
        if text:
            self._buffer.append(self._inline_code(text))
        return at + 1

    def _inline_code(self, text: str) -> str:
        if OPEN in text or BREAK in text or self._heading or self._kind == Kind.TERM:
            return text if OPEN in text else self.recovery.protect(text)
        stripped = text.strip()
        if not stripped:
            return text
        fence = "`" if "`" not in stripped else "``"
        made = self.recovery.protect(f"{fence}{stripped}{fence}")
        before = " " if text[0].isspace() else ""
        return before + made + (" " if text[-1].isspace() else "")

    def _close_script(self, at: int) -> int:
        is_linked = bool(self._marks) and self._link_chars > self._marks[-1][2]
        text = self._content()
        if text:
            self._buffer.append(inline.script(text, self.tags[at] == "/sup", is_linked))
        return at + 1

    def _quote(self, at: int) -> int:
        self._buffer.append('"')
        return at + 1

    def _open_link(self, at: int) -> int:
        self._link = len(self._buffer)
        return at + 1

    def _close_link(self, at: int) -> int:
        if self._link is not None:
            self._link_chars += sum(map(len, self._buffer[self._link :]))
            self._link = None
        return at + 1


def _pass(at: int) -> int:
    return at + 1


def _number(text: str | None) -> int:
    """A span of columns or rows, 1 where it is nonsense."""
    return min(int(text), 200) if text and text.isdecimal() and len(text) < 5 and text != "0" else 1
