"""Pieces of a conversation, and how they become ids and loss marks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nautiloid.data.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as tokens; `trains[i]` says that `ids[i]` is a target of the loss."""

    ids: list[int]
    trains: list[bool]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of text of one kind: plain, or the name of a special token."""

    text: str
    trains: bool
    is_special: bool = False


@dataclass(frozen=True, slots=True)
class Script:
    """Collects segments and encodes them.

    A tokenizer splits a text at special tokens and reads everything between two of them as one
    string. So does this class: adjacent plain segments are joined before encoding, and the result
    equals that of encoding the whole text. The one exception is `cut()`, which keeps two
    neighbours apart so that a generation prompt is an exact prefix of the turn that answers it.
    """

    tokenizer: Tokenizer
    segments: list[Segment | None] = field(default_factory=list[Segment | None])

    def fixed(self, text: str, trains: bool = False) -> None:
        """Add text of the grammar; names of special tokens in it are those tokens."""
        specials = self.tokenizer.specials
        pieces = self.tokenizer.special_pattern.split(text)
        self.segments.extend(Segment(p, trains, p in specials) for p in pieces if p)

    def plain(self, text: str, trains: bool = False) -> None:
        """Add text from outside; it never becomes a special token."""
        if text:
            self.segments.append(Segment(text, trains))

    def cut(self) -> None:
        """Encode what follows apart from what came before."""
        self.segments.append(None)

    def encode(self) -> Rendered:
        """Turn the segments into ids and marks.

        A token that covers characters of trained and untrained segments does not train.
        """
        done = Rendered([], [])
        run: list[Segment] = []
        for segment in self.segments:
            if segment is not None and not segment.is_special:
                run.append(segment)
                continue
            self._flush(run, done)
            run = []
            if segment is not None:
                done.ids.append(self.tokenizer.specials[segment.text])
                done.trains.append(segment.trains)
        self._flush(run, done)
        return done

    def _flush(self, run: list[Segment], done: Rendered) -> None:
        if not run:
            return
        ids, offsets = self.tokenizer.encode_with_offsets("".join(s.text for s in run))
        done.ids.extend(ids)
        marks = b"".join((b"\1" if s.trains else b"\0") * len(s.text) for s in run)
        done.trains.extend(b"\0" not in marks[start:end] for start, end in offsets)
