"""Where the thinking span of a completion ends, by itself or by a budget."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence


class ThinkingSpan:
    """Follows one completion through its thinking span.

    At the budget the span is closed after the next newline, or after a grace of a tenth of the
    budget (at least one token) when none comes (specs/architecture 8.4).

    Args:
        end_ids: Ids that close the span.
        budget_tokens: Limit on thinking tokens; None is no limit.
        has_newline: Whether an id's text holds a newline.

    Attributes:
        is_open: Whether the next token still belongs to the span.
        num_tokens: Thinking tokens so far, the closing ids left out.
        forced: Ids that must come next.
    """

    def __init__(
        self,
        end_ids: Sequence[int],
        budget_tokens: int | None,
        has_newline: Callable[[int], bool],
    ):
        assert end_ids
        self.end_ids = tuple(end_ids)
        self.budget_tokens = budget_tokens
        self.limit_tokens = (
            None if budget_tokens is None else budget_tokens + max(1, budget_tokens // 10)
        )
        self.has_newline = has_newline
        self.is_open = True
        self.num_tokens = 0
        self.forced: deque[int] = deque(end_ids if budget_tokens == 0 else ())

    def advance(self, ids: Sequence[int]) -> None:
        """Take note of the newest of all generated `ids`."""
        if not self.is_open:
            return
        if self.forced:
            assert ids[-1] == self.forced[0]
            self.forced.popleft()
        self.num_tokens += 1
        size = len(self.end_ids)
        if ids[-1] == self.end_ids[-1] and tuple(ids[-size:]) == self.end_ids:
            self.is_open = False
            self.num_tokens -= size
            self.forced.clear()
        elif (
            self.budget_tokens is not None
            and self.num_tokens >= self.budget_tokens
            and not self.forced
        ):
            assert self.limit_tokens is not None
            if self.num_tokens >= self.limit_tokens or self.has_newline(ids[-1]):
                self.forced.extend(self.end_ids)
