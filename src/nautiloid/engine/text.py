"""From token ids to text as it grows: whole characters only, stop strings never shown."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Literal

from nautiloid.data.render.base import CLOSE, OPEN


class TextStream:
    """Detokenizes one completion token by token.

    Args:
        token_bytes: UTF-8 bytes of each id.
        stop: Strings that end the text; neither they nor what follows become part of it.

    Attributes:
        text: Everything decoded so far, cut before a stop string.
        is_stopped: Whether a stop string appeared.
    """

    def __init__(self, token_bytes: Sequence[bytes], stop: Sequence[str] = ()):
        self.token_bytes = token_bytes
        self.stop = tuple(stop)
        self.reach = max((len(s) for s in self.stop), default=1) - 1
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.text = ""
        self.taken = 0
        self.free = 0  # characters in which no stop string counts
        self.is_stopped = False
        self.is_closed = False

    def push(self, token_id: int, *, may_stop: bool = True) -> None:
        """Append one token; where it may not stop the text, no stop string begins."""
        self._append(self.decoder.decode(self.token_bytes[token_id]), may_stop)

    def close(self) -> None:
        """The completion ended: an unfinished character becomes U+FFFD."""
        self._append(self.decoder.decode(b"", final=True))
        self.is_closed = True

    def take(self) -> str:
        """The text that is certain and was not taken before; a possible start of a stop string waits."""
        end = len(self.text)
        if not (self.is_closed or self.is_stopped):
            end -= overlap(self.text, self.stop)
        piece = self.text[self.taken : end]
        self.taken = max(end, self.taken)
        return piece

    def _append(self, piece: str, may_stop: bool = True) -> None:
        if not piece or self.is_stopped:
            return
        start = max(self.free, len(self.text) - self.reach)
        self.text += piece
        if not may_stop:
            self.free = len(self.text)
            return
        found = [at for s in self.stop if (at := self.text.find(s, start)) >= 0]
        if found:
            self.text = self.text[: min(found)]
            self.is_stopped = True


def overlap(text: str, marks: Sequence[str]) -> int:
    """Length of the longest end of `text` that is a proper beginning of one of `marks`.

    >>> overlap("some <thi", ["</think>", "<think>"])
    4
    """
    longest = max((len(mark) for mark in marks), default=1) - 1
    for size in range(min(longest, len(text)), 0, -1):
        if any(len(mark) > size and mark.startswith(text[-size:]) for mark in marks):
            return size
    return 0


class ThinkingSplit:
    """Sorts streamed text into reasoning and content at the first closing tag.

    Args:
        thinking: Whether the completion may think.
        is_open: Whether the prompt opened the span; otherwise the text must open it itself.
    """

    def __init__(self, *, thinking: bool, is_open: bool):
        self.span: Literal["start", "reasoning", "content"] = (
            "content" if not thinking else "reasoning" if is_open else "start"
        )
        self.pending = ""
        self.has_begun = False

    def feed(self, piece: str, *, last: bool = False) -> tuple[str, str]:
        """Return what is certainly new reasoning and new content; `last` flushes what waits."""
        self.pending += piece
        reasoning = ""
        if self.span == "start":
            head = self.pending.lstrip()
            if head.startswith(OPEN):
                self.span, self.pending = "reasoning", head[len(OPEN) :]
            elif last or not OPEN.startswith(head):
                self.span = "content"
            else:
                return "", ""
        if self.span == "reasoning":
            before, close, after = self.pending.partition(CLOSE)
            cut = len(before) - (0 if last or close else overlap(before, [CLOSE]))
            reasoning = self._from_first_letter(before[:cut])
            self.pending = before[cut:]
            if close:
                self.span, self.pending, self.has_begun = "content", after, False
        content = ""
        if self.span == "content":
            content, self.pending = self._from_first_letter(self.pending), ""
        return reasoning, content

    def _from_first_letter(self, text: str) -> str:
        """Drop whitespace at the very beginning of a span."""
        if not self.has_begun:
            text = text.lstrip()
            self.has_begun = bool(text)
        return text
