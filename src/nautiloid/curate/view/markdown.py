"""The Markdown that extraction writes, as HTML; formulas stay TeX for the browser to set."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from nautiloid.core.report.html import Html, html, join, tag

MAX_DEPTH = 4

# Each alternative stops at its own delimiter, so the scan is linear on hostile text.
INLINE = re.compile(
    r"(?P<escape>\\[\\`*_{}\[\]()#+.!$|<>~-])"
    r"|(?P<code>``(?:[^`]|`(?!`))+``|`[^`]+`)"
    r"|(?P<math>\$\$(?:[^$\\]|\\.)+\$\$|\$(?!\s)(?:[^$\\]|\\.)+(?<!\s)\$)"
    r"|(?P<strong>\*\*(?:[^*$]|\$[^$]*\$|\*(?!\*))+\*\*)"
    r"|(?P<em>\*[^*\s][^*]*\*)"
    r"|(?P<link>!?\[[^\[\]]*\]\([^()\s]*\))",
    re.DOTALL,
)
HEADING = re.compile(r"(#{1,6}) +(.*)")
FENCE = re.compile(r" {0,3}(`{3,}|~{3,}) *([\w+#.-]*)[^`]*$")
ITEM = re.compile(r"( *)(?:[-*+]|(\d{1,9})[.)]) +(.*)")
RULE = re.compile(r" {0,3}(?:-{3,}|\*{3,}|_{3,}) *$")
DIVIDER = re.compile(r" *\|?[ :|-]*-[ :|-]*$")


@dataclass
class Rendered:
    """The body of a document.

    Attributes:
        body: Markup; formula `n` is `<span class="tex" data-span="n">TeX</span>`.
        formulas: TeX of every formula and whether it is displayed, in the order of the text.
        counts: Blocks by kind (`headings`, `tables`, `code blocks`, `lists`, `paragraphs`).
    """

    body: Html = field(default_factory=lambda: Html(""))
    formulas: list[tuple[str, bool]] = field(default_factory=list[tuple[str, bool]])
    counts: dict[str, int] = field(default_factory=dict[str, int])

    def count(self, kind: str) -> None:
        """One more block of a kind."""
        self.counts[kind] = self.counts.get(kind, 0) + 1


def render(text: str) -> Rendered:
    """Markup of a document; everything that is not structure is escaped.

    >>> render("# A\\n\\n`<b>` and $x^2$").body
    '<h1>A</h1>\\n<p><code>&lt;b&gt;</code> and <span class="tex" data-span="0">x^2</span></p>'
    """
    rendered = Rendered()
    rendered.body = join(*_blocks(text.split("\n"), rendered, 0))
    return rendered


def _blocks(lines: list[str], out: Rendered, depth: int) -> Iterator[Html]:
    at = 0
    while at < len(lines):
        line = lines[at]
        end = _end(lines, at, depth)
        if not line.strip():
            pass
        elif fence := FENCE.match(line):
            body = lines[at + 1 : end]
            if body and body[-1].strip().startswith(fence[1]):
                body = body[:-1]
            out.count("code blocks")
            label = tag("small", fence[2]) if fence[2] else ""
            yield tag("pre", label, tag("code", "\n".join(body)))
        elif heading := HEADING.match(line):
            out.count("headings")
            yield tag(f"h{len(heading[1])}", _inline(heading[2].rstrip("# "), out))
        elif RULE.match(line):
            yield Html("<hr>")
        elif line.lstrip().startswith("$$"):
            yield tag("div", _display("\n".join(lines[at:end]), out), class_="display")
        elif line.lstrip().startswith(">") and depth < MAX_DEPTH:
            inner = [re.sub(r"^ *> ?", "", quoted) for quoted in lines[at:end]]
            yield tag("blockquote", join(*_blocks(inner, out, depth + 1)))
        elif ITEM.match(line) and depth < MAX_DEPTH:
            out.count("lists")
            yield _list(lines[at:end], out, depth)
        elif _is_table(lines, at):
            out.count("tables")
            yield _table(lines[at:end], out)
        else:
            out.count("paragraphs")
            yield tag("p", _inline("\n".join(lines[at:end]).strip(), out))
        at = end


def _end(lines: list[str], at: int, depth: int) -> int:
    """Index behind the block that starts at a line."""
    line = lines[at]
    end = at + 1
    if fence := FENCE.match(line):
        while end < len(lines) and not lines[end].strip().startswith(fence[1]):
            end += 1
        return min(end + 1, len(lines))
    if not line.strip() or HEADING.match(line) or RULE.match(line):
        return end
    if line.lstrip().startswith("$$"):
        is_open = line.strip() == "$$" or not line.rstrip().endswith("$$")
        while is_open and end < len(lines) and lines[end].strip():
            is_open = "$$" not in lines[end]
            end += 1
        return end
    if line.lstrip().startswith(">") and depth < MAX_DEPTH:
        while end < len(lines) and lines[end].lstrip().startswith(">"):
            end += 1
        return end
    if (item := ITEM.match(line)) and depth < MAX_DEPTH:
        return _list_end(lines, end, item)
    if _is_table(lines, at):
        while end < len(lines) and "|" in lines[end]:
            end += 1
        return end
    while end < len(lines) and lines[end].strip() and not _starts_block(lines[end], depth):
        end += 1
    return end


def _list_end(lines: list[str], end: int, first: re.Match[str]) -> int:
    indent = len(first[1])
    while end < len(lines):
        line = lines[end]
        if line.strip():
            margin = len(line) - len(line.lstrip())
            item = ITEM.match(line)
            is_next = item is not None and (item[2] is None) == (first[2] is None)
            if margin <= indent and not is_next:
                return end
        elif end + 1 >= len(lines) or not lines[end + 1].strip():
            return end
        end += 1
    return end


def _starts_block(line: str, depth: int) -> bool:
    if HEADING.match(line) or FENCE.match(line) or line.lstrip().startswith("$$"):
        return True
    return depth < MAX_DEPTH and bool(ITEM.match(line))


def _list(lines: list[str], out: Rendered, depth: int) -> Html:
    first = ITEM.match(lines[0])
    assert first is not None
    indent = len(first[1])
    items: list[list[str]] = []
    for line in lines:
        item = ITEM.match(line)
        if item and len(item[1]) <= indent + 1:
            items.append([item[3]])
        else:
            margin = min(len(line) - len(line.lstrip()), indent + 4)
            items[-1].append(line[margin if margin < indent + 4 else indent + 2 :])
    boxes = [tag("li", _item(item, out, depth + 1)) for item in items]
    if first[2] is None:
        return tag("ul", *boxes)
    return tag("ol", *boxes, start=int(first[2]))


def _item(lines: list[str], out: Rendered, depth: int) -> Html:
    parts = list(_blocks(lines, out, depth))
    if len(parts) == 1 and parts[0].startswith("<p>"):
        return Html(parts[0][3:-4])
    return join(*parts)


def _is_table(lines: list[str], at: int) -> bool:
    return "|" in lines[at] and at + 1 < len(lines) and bool(DIVIDER.match(lines[at + 1]))


def _table(lines: list[str], out: Rendered) -> Html:
    rows: list[Html] = []
    for i, line in enumerate(lines):
        if i == 1:
            continue
        name = "th" if i == 0 else "td"
        cells = [tag(name, _inline(cell.strip(), out)) for cell in _cells(line)]
        rows.append(tag("tr", *cells))
    return tag("div", tag("table", *rows), class_="table")


def _cells(line: str) -> list[str]:
    """Cells of a row; an escaped bar and one inside a formula or code do not part them.

    >>> _cells("| a | $|x|$ | `a|b` |")
    ['a', '$|x|$', '`a|b`']
    """
    held: list[str] = []

    def hold(found: re.Match[str]) -> str:
        held.append(found[0])
        return f"\ue010{len(held) - 1}\ue011"

    bare = INLINE.sub(hold, line.replace("\ue010", "")).strip().removeprefix("|").removesuffix("|")
    cells = [cell.strip() for cell in bare.split("|")]
    return [re.sub("\ue010(\\d+)\ue011", lambda m: held[int(m[1])], cell) for cell in cells]


def _display(text: str, out: Rendered) -> Html:
    head, _, rest = text.strip().removeprefix("$$").rpartition("$$")
    if not head:
        return html(text)
    formula = _formula(head.strip(), True, out)
    return join(formula, _inline(rest, out)) if rest.strip() else formula


def _formula(tex: str, is_display: bool, out: Rendered) -> Html:
    out.formulas.append((tex, is_display))
    kind = "tex block" if is_display else "tex"
    attributes = {"class": kind, "data-span": len(out.formulas) - 1}
    return tag("span", tex, **attributes)


def _inline(text: str, out: Rendered, depth: int = 0) -> Html:
    parts: list[Html] = []
    last = 0
    for found in INLINE.finditer(text):
        parts.append(html(text[last : found.start()]))
        parts.append(_span(found, out, depth))
        last = found.end()
    parts.append(html(text[last:]))
    return Html("".join(parts))


def _span(found: re.Match[str], out: Rendered, depth: int) -> Html:
    text = found[0]
    match found.lastgroup:
        case "escape":
            return html(text[1:])
        case "code":
            return tag("code", text.strip("`").strip() or text)
        case "math":
            is_display = text.startswith("$$")
            return _formula(text.strip("$").strip() or text, is_display, out)
        case "link":
            label, _, target = text[:-1].lstrip("!").removeprefix("[").rpartition("](")
            return tag("span", _inline(label, out, depth + 1), class_="link", title=target)
        case name:
            assert name in ("strong", "em")
            inner = text.strip("*")
            return tag(name, _inline(inner, out, depth + 1) if depth < MAX_DEPTH else inner)
