"""Which blocks of a page are its content: structure first, density of links second."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from nautiloid.curate.extract._block import Block, Kind, Span
from nautiloid.curate.extract._element import Role
from nautiloid.curate.extract._words import PHRASE_STARTS, PHRASES, STEP, STEPS, names
from nautiloid.curate.math.formula import OPEN

# A main element with less than this share of the text is a decoy; vaguer names need more.
MAIN_SHARES = {
    Role.MAIN: 0.25,
    Role.MAIN_2: 0.3,
    Role.MAIN_3: 0.5,
    Role.MAIN_4: 0.5,
    Role.MAIN_5: 0.6,
}
LINKED = 0.5
# Where nothing marks the content, lists with this share of link text are navigation.
LIST_LINKED = 0.7
# A page of links is a page about links: a table of contents, a bibliography.
INDEX_LINKED = 0.6
SHORT = 200
# A paragraph of prose has this many characters.
_PROSE = 60
# Shorter headings stand in titles by chance.
_NAME = 10
# A line that moves on has a step in this many characters.
_STEP_CHARS = 60
# Elements looked at around one.
_NEAR = 40

_DENSE = names(
    """
    div ul ol dl section table td th center aside form nav menu header footer address dd
    """
)
_SENTENCE = re.compile(r"[.!?:;\u3002][\"')\]\u201d]?$")


def content(blocks: Sequence[Block], spans: Sequence[Span], title: str = "") -> list[Block]:
    """Blocks that stay, in order.

    Args:
        blocks: All of the page.
        spans: Its block elements, inner ones first.
        title: That of the head of the page, which tells its heading from the name of the site.
    """
    if not blocks:
        return []
    page = _Page(blocks, spans)
    page.drop_weak()
    start, stop, is_sure = page.main()
    page.narrow(start, stop, title)
    if not is_sure:
        page.drop_linked()
    page.drop_phrases(is_sure)
    page.drop_orphans(start, stop)
    kept = _with_markers(blocks, page.dead)
    # Pruning that leaves next to nothing of a page has misjudged it.
    if sum(block.chars for block in kept) < 0.05 * page.sizes[-1] or not kept:
        return list(blocks)
    return kept


def _with_markers(blocks: Sequence[Block], dead: bytearray) -> list[Block]:
    """Blocks that are not dead; the next one of an item takes the marker of one that is."""
    kept: list[Block] = []
    lost: Block | None = None
    for block, is_dead in zip(blocks, dead, strict=True):
        if is_dead:
            if block.is_item:
                lost = block
            continue
        if lost is not None and not block.is_item and block.indent == lost.indent:
            block = replace(block, lead=lost.lead, is_item=True)
        lost = None
        kept.append(block)
    return kept


class _Page:
    """Sums over the blocks of one page, and which of them are dead."""

    def __init__(self, blocks: Sequence[Block], spans: Sequence[Span]):
        self.blocks, self.spans = blocks, spans
        self.dead = bytearray(len(blocks))
        self._title: int | None = None
        self.sizes = [0, *accumulate(block.chars for block in blocks)]
        self.links = [0, *accumulate(block.link_chars for block in blocks)]
        self.guarded = [
            0,
            *accumulate(
                block.kind in (Kind.CODE, Kind.TABLE) or OPEN in block.text for block in blocks
            ),
        ]

    def size(self, start: int, stop: int) -> int:
        return self.sizes[stop] - self.sizes[start]

    def unlinked(self, start: int, stop: int) -> int:
        """Text that is no link: lists of links beside the content weigh nothing."""
        return self.size(start, stop) - (self.links[stop] - self.links[start])

    def linked(self, start: int, stop: int) -> float:
        return (self.links[stop] - self.links[start]) / max(1, self.size(start, stop))

    def is_guarded(self, start: int, stop: int) -> bool:
        """Whether a formula, table or listing is inside."""
        return self.guarded[stop] > self.guarded[start]

    def drop_weak(self) -> None:
        """Suspicious elements go when they are full of links, or short and without a sentence."""
        for span in self.spans:
            if span.role is not Role.WEAK or self.is_guarded(span.first, span.last):
                continue
            size = self.size(span.first, span.last)
            if size > 0.4 * self.sizes[-1]:
                continue
            inside = self.blocks[span.first : span.last]
            is_short = size < SHORT and not any(_SENTENCE.search(block.text) for block in inside)
            if is_short or self.linked(span.first, span.last) > LINKED:
                for index in range(span.first, span.last):
                    # A header holds the title.
                    if self.blocks[index].kind != Kind.HEADING + 1 and index != self.title():
                        self.dead[index] = 1

    def title(self) -> int:
        """Index of the heading that opens a page without one of the first rank, -1 for none."""
        if self._title is None:
            kinds = [block.kind for block in self.blocks]
            levels = [kind for kind in kinds if kind > Kind.HEADING]
            is_title = levels[:1] == [Kind.HEADING + 2] and Kind.HEADING + 1 not in levels
            self._title = kinds.index(Kind.HEADING + 2) if is_title else -1
        return self._title

    def main(self) -> tuple[int, int, bool]:
        """Bounds of the content, and whether an element says so."""
        alive = 1 + sum(
            block.chars - block.link_chars
            for block, dead in zip(self.blocks, self.dead, strict=True)
            if not dead
        )
        for role, share in MAIN_SHARES.items():
            found = _outermost([span for span in self.spans if span.role is role])
            if not found:
                continue
            sizes = [1 + self.unlinked(span.first, span.last) for span in found]
            largest = found[sizes.index(max(sizes))]
            size = max(sizes)
            is_tiny = self.size(largest.first, largest.last) < SHORT and alive > 2 * size
            if is_tiny and not self.is_guarded(largest.first, largest.last):
                continue
            # Posts, answers, articles: several of a kind make the content together.
            several = [n for n in sizes if n > 0.1 * size]
            if len(several) > 1 and sum(sizes) >= share * alive:
                return found[0].first, found[-1].last, True
            if size >= share * alive:
                return largest.first, largest.last, True
        return 0, len(self.blocks), False

    def narrow(self, start: int, stop: int, title: str) -> None:
        """Drop what is outside the bounds, but for the title of the page."""
        opening = [b for b in self.blocks[start : start + 4] if b.kind > Kind.HEADING]
        inside, heads = [b.kind for b in opening], [b.text[:60] for b in opening]
        kept = bytearray(len(self.blocks))
        for index in range(start - 1, -1, -1):
            block = self.blocks[index]
            if Kind.HEADING < block.kind < Kind.HEADING + 4 and not self.dead[index]:
                is_named = block.text[:60] in title
                is_first = all(kind > block.kind for kind in inside)
                is_only = is_named and block.kind == Kind.HEADING + 1 and len(block.text) >= _NAME
                if is_only and not is_first:
                    # The name of a site is in the title too, behind that of the page.
                    is_first = not any(head in title for head in heads)
                if is_first and (is_named or block.kind == Kind.HEADING + 1):
                    kept[index] = 1
                break
        for span in self.spans:
            if span.role is Role.COMMENTS and span.first >= stop:
                first = span.first - (self.blocks[span.first - 1].kind > Kind.HEADING)
                kept[first : span.last] = b"\1" * (span.last - first)
        for index in (*range(start), *range(stop, len(self.blocks))):
            self.dead[index] |= not kept[index]

    def drop_linked(self) -> None:
        """Elements that are lists of links, on pages that are not."""
        total = max(1, self.sizes[-1])
        if self.links[-1] / total > INDEX_LINKED:
            return
        lists = bytearray(len(self.blocks))
        for number, span in enumerate(self.spans):
            if span.name not in _DENSE or self.is_guarded(span.first, span.last):
                continue
            size = self.size(span.first, span.last)
            if not size or size > 0.4 * total or self.linked(span.first, span.last) <= LIST_LINKED:
                continue
            inside = self.blocks[span.first : span.last]
            if size / len(inside) < 80 and not any(
                Kind.HEADING < b.kind < Kind.HEADING + 2 for b in inside
            ):
                is_dead = not (self._is_announced(span.first) or self._is_amid(number))
                lists[span.first : span.last] = bytes([is_dead]) * (span.last - span.first)
        if any(lists):
            for index, is_dead in enumerate(lists):
                self.dead[index] |= is_dead

    def _is_announced(self, index: int) -> bool:
        """Whether a line of text ends in a colon before a block: "See also:"."""
        before = self.blocks[index - 1] if index else None
        return before is not None and before.kind <= Kind.TERM and before.text.endswith(":")

    def _is_amid(self, number: int) -> bool:
        """Whether a span stands behind a paragraph and goes on to more in the same element."""
        _, _, first, last = self.spans[number]
        before = self.blocks[first - 1] if first else None
        if (
            before is None
            or before.kind != Kind.TEXT
            or before.chars < _PROSE
            or before.link_chars > LINKED * before.chars
            or not _SENTENCE.search(before.text)
        ):
            return False
        for _, _, start, stop in self.spans[number + 1 : number + 1 + _NEAR]:
            if start <= first and stop >= last and stop - start > last - first:
                return start < first and stop > last and not self._ends(start, first, number)
        return False

    def _ends(self, start: int, stop: int, number: int) -> bool:
        """Whether an element that begins at `start` or behind it ends just before block `stop`."""
        before = self.spans[max(0, number - _NEAR) : number]
        return any(span.last == stop and span.first >= start for span in before)

    def drop_phrases(self, is_sure: bool) -> None:
        """Lines that say how to move on, share or log in."""
        for index, block in enumerate(self.blocks):
            if block.chars >= SHORT or block.kind > Kind.TERM or self.dead[index]:
                continue
            text = block.text
            if block.is_item and is_sure and block.link_chars < 0.8 * block.chars:
                continue
            start = text.split(None, 1)[0].lower().rstrip(".:!>|")
            is_phrase = start in PHRASE_STARTS or start[:1] == "\u00a9"
            if is_phrase and PHRASES.fullmatch(text) and OPEN not in text:
                self.dead[index] = 1
                if text.endswith(":"):
                    self._drop_list(index + 1)
            elif block.link_chars > 0.4 * block.chars and OPEN not in text:
                steps = len(STEPS.findall(text))
                # Sentences, titles and names hold such words too: there they are few, or inside.
                is_text = is_sure and index and self.blocks[index - 1].kind > Kind.HEADING + 1
                if text.count("\n") < steps and len(text) < _STEP_CHARS * steps and not is_text:
                    is_short = block.chars < _STEP_CHARS
                    is_linked = block.link_chars > 0.7 * block.chars and is_short
                    is_line = steps > 1 and (is_short or text[-1] != ".")
                    if is_line or ((steps > 1 or is_linked) and STEP.search(text)):
                        self.dead[index] = 1

    def _drop_list(self, index: int) -> None:
        """The items of links that such a line announces."""
        while index < len(self.blocks):
            block = self.blocks[index]
            if not block.is_item or block.link_chars < LINKED * block.chars:
                return
            self.dead[index] = 1
            index += 1

    def drop_orphans(self, start: int, stop: int) -> None:
        """Headings between the bounds of the content whose whole content was dropped."""
        level = below = 0
        was_dead = False
        for index in range(stop - 1, start - 1, -1):
            if self.dead[index]:
                was_dead, below = True, 0
                continue
            kind = self.blocks[index].kind
            if kind > Kind.HEADING + 1 and was_dead and level >= 0:
                own = kind - Kind.HEADING
                # What was dropped below a heading of the same rank was not its own.
                if level <= own and not 0 < below <= own:
                    self.dead[index] = 1
                    below = own
                    continue
            level = kind - Kind.HEADING if kind > Kind.HEADING else -1
            was_dead, below = False, 0


def _outermost(spans: Sequence[Span]) -> list[Span]:
    """Those inside no other, in the order of the page."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.first, -span.last)):
        if not found or span.last > found[-1].last:
            found.append(span)
    return found
