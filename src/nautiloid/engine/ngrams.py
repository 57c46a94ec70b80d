"""Drafts copied from the text itself: what followed the last tokens where they occurred before."""

from __future__ import annotations

from collections.abc import Sequence

# tokens of a long prompt that are indexed in one step, so that no step waits for all of them
INDEXED_TOKENS = 4096


class Ngrams:
    """Index of one request's tokens.

    Args:
        sizes: Shortest and longest end of the text that is looked up.
    """

    def __init__(self, sizes: tuple[int, int]):
        self.sizes = sizes
        self.tables: dict[int, dict[tuple[int, ...], int]] = {
            size: {} for size in range(sizes[0], sizes[1] + 1)
        }
        self.ids: list[int] = []
        self.num_indexed = 0

    def extend(self, ids: Sequence[int]) -> None:
        """Append tokens, and index some of those that have a follower."""
        self.ids += ids
        # an end of the text becomes known only when the next token is there: looking up the newest
        # end then finds the place before, never itself
        stop = min(len(self.ids) - 1, self.num_indexed + INDEXED_TOKENS)
        for at in range(self.num_indexed + 1, stop + 1):
            for size, table in self.tables.items():
                if size <= at:
                    table[tuple(self.ids[at - size : at])] = at
        self.num_indexed = max(stop, self.num_indexed)

    def draft(self, count: int) -> list[int]:
        """The tokens that followed the longest known end, `count` of them, or none.

        A copy that reaches the end of the text goes on with what it copied, as a repetition does.

        >>> index = Ngrams((2, 3))
        >>> index.extend([5, 6, 7, 5, 6])
        >>> index.draft(4)
        [7, 5, 6, 7]
        """
        for size in range(self.sizes[1], self.sizes[0] - 1, -1):
            if size > len(self.ids):
                continue
            start = self.tables[size].get(tuple(self.ids[-size:]))
            if start is not None:
                copied = self.ids[start : start + count]
                period = len(self.ids) - start
                while len(copied) < count:
                    copied.append(copied[len(copied) - period])
                return copied
        return []
