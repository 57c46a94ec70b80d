"""States of prefixes that were computed before, found again by their exact tokens.

A radix tree over token ids. A node may own an entry: a snapshot of a slot after exactly the tokens on
the way to it, and the pages of these tokens. State of a recurrent layer cannot be cut back, so an
entry serves exactly its own prefix; a model without such layers can use any beginning of one.
"""

from __future__ import annotations

from array import array
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from nautiloid.engine.cache import CachePool

TOKEN_BYTES = 4


def encode(ids: Sequence[int]) -> bytes:
    """Token ids as bytes that compare quickly; 4 a token."""
    return array("i", ids).tobytes()


@dataclass(eq=False, slots=True)
class Entry:
    """States of a prefix.

    Args:
        tokens: Its length.
        row: Slot of the store that keeps the snapshot; None when the model has no such states.
        pages: Of all its tokens, the last one perhaps in part.
    """

    tokens: int
    row: int | None
    pages: tuple[int, ...]
    node: Node


@dataclass(eq=False, slots=True)
class Node:
    """A branch: the tokens from its parent to it, and what is known at its end."""

    edge: bytes
    parent: Node | None
    children: dict[bytes, Node] = field(default_factory=dict)
    entry: Entry | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """What is known of a prompt.

    Args:
        entry: Whose states can be used; None when there is none.
        tokens: How many tokens they stand for.
        shared: How many tokens the prompt has in common with some kept one.
    """

    entry: Entry | None
    tokens: int
    shared: int


class PrefixCache:
    """Entries by prefix, dropped by age of use when room is wanted.

    Entries that were never used go before those that were, so that a burst of prompts does not drive
    out what they share; at most half of all are kept back so (segmented LRU).

    Attributes:
        fresh: Entries that were not used yet, or not for long, the oldest first.
        proven: Entries that were used, the one unused for longest first.
        queries: Prompts looked up.
        query_tokens: Their tokens.
        hit_tokens: Those of them that needed no forward.
    """

    def __init__(self, pool: CachePool):
        self.pool = pool
        self.roots: dict[str, Node] = {}
        self.fresh: OrderedDict[Entry, None] = OrderedDict()
        self.proven: OrderedDict[Entry, None] = OrderedDict()
        self.held: Counter[int] = Counter()
        self.queries = self.query_tokens = self.hit_tokens = 0

    def find(self, salt: str, key: bytes) -> Hit:
        """The longest usable prefix of the tokens `key`."""
        last, at, path = self._walk(salt, key)
        entry, tokens = None, 0
        if self.pool.has_slots:
            # `last` may be reached in part only; states are those at the end of a branch
            whole = [node for node, end in path if node.entry is not None and end <= at]
            if whole:
                entry = whole[-1].entry
                assert entry is not None
                tokens = entry.tokens
        elif at > 0:
            while last.entry is None:
                last = next(iter(last.children.values()))
            entry, tokens = last.entry, at // TOKEN_BYTES
        if entry is not None:
            self._refresh(entry)
        return Hit(entry, tokens, at // TOKEN_BYTES)

    def note(self, tokens: int, hit: Hit) -> None:
        """A prompt of so many tokens was admitted with this hit."""
        self.queries += 1
        self.query_tokens += tokens
        self.hit_tokens += hit.tokens
        if hit.entry is not None:
            self.fresh.pop(hit.entry, None)
            self.proven[hit.entry] = None
            self.proven.move_to_end(hit.entry)
            if len(self.proven) > max(1, (len(self.proven) + len(self.fresh)) // 2):
                oldest, _ = self.proven.popitem(last=False)
                self.fresh[oldest] = None

    def keep(self, salt: str, key: bytes, slot: int, pages: Sequence[int]) -> bool:
        """Keep the states after the tokens `key`, which `slot` and `pages` hold now.

        Returns:
            False when there is no room for a snapshot.
        """
        if not key:
            return False
        node = self._insert(salt, key)
        if node.entry is not None:
            self._refresh(node.entry)
            return True
        row = None
        if self.pool.has_slots:
            row = self._free_row()
            if row is None:
                self._prune(node)
                return False
            self.pool.store.copy(slot, row)
        tokens = len(key) // TOKEN_BYTES
        kept = tuple(pages[: self.pool.num_pages_for(tokens)])
        self.pool.hold(kept)
        self.held.update(kept)
        # evicting another entry may have cut the new branch off
        node = self._insert(salt, key)
        entry = node.entry = Entry(tokens, row, kept, node)
        self.fresh[entry] = None
        return True

    def evict(self, pinned: Entry | None = None) -> bool:
        """Drop the oldest entry that alone holds a page; False when none frees any."""
        refs = self.pool.refs
        blocked = None
        for entry in self:
            if entry is pinned:
                continue
            pages = entry.pages
            if any(refs[page] == 1 for page in pages):
                self._remove(entry)
                return True
            if blocked is None and any(refs[page] == self.held[page] for page in pages):
                blocked = entry  # shares pages with other entries only
        if blocked is None:
            return False
        self._remove(blocked)
        return True

    def forget(self, salt: str, key: bytes) -> None:
        """Drop every entry on the way along `key`: their states may be wrong."""
        _, _, path = self._walk(salt, key)
        for node, _ in path:
            if node.entry is not None:
                self._remove(node.entry)

    def clear(self) -> None:
        """Drop everything."""
        for entry in list(self):
            self._remove(entry)
        self.roots.clear()

    def facts(self) -> dict[str, int]:
        """Counters."""
        return {
            "entries": len(self.fresh) + len(self.proven),
            "queries": self.queries,
            "query_tokens": self.query_tokens,
            "hit_tokens": self.hit_tokens,
        }

    def _walk(self, salt: str, key: bytes) -> tuple[Node, int, list[tuple[Node, int]]]:
        """The last node reached, the bytes matched, and the nodes on the way with their ends."""
        path: list[tuple[Node, int]] = []
        node = self.roots.get(salt)
        if node is None:
            return Node(b"", None), 0, path
        at = 0
        while (child := node.children.get(key[at : at + TOKEN_BYTES])) is not None:
            end = at + len(child.edge)
            path.append((child, end))
            at += common(child.edge, key, at)
            node = child
            if at < end:
                break
        return node, at, path

    def _insert(self, salt: str, key: bytes) -> Node:
        """The node at the end of `key`, made where it is missing."""
        node = self.roots.setdefault(salt, Node(b"", None))
        at = 0
        while at < len(key):
            first = key[at : at + TOKEN_BYTES]
            child = node.children.get(first)
            if child is None:
                child = node.children[first] = Node(key[at:], node)
                return child
            same = common(child.edge, key, at)
            if same < len(child.edge):
                middle = node.children[first] = Node(child.edge[:same], node)
                child.edge, child.parent = child.edge[same:], middle
                middle.children[child.edge[:TOKEN_BYTES]] = child
                child = middle
            at += same
            node = child
        return node

    def _free_row(self) -> int | None:
        free = self.pool.free_snapshots
        if not free:
            oldest = next(iter(self), None)
            if oldest is None:
                return None
            self._remove(oldest)
        return free.pop()

    def _remove(self, entry: Entry) -> None:
        del (self.fresh if entry in self.fresh else self.proven)[entry]
        if entry.row is not None:
            self.pool.free_snapshots.append(entry.row)
        self.held.subtract(entry.pages)
        for page in entry.pages:
            if not self.held[page]:
                del self.held[page]
        self.pool.drop(entry.pages)
        entry.node.entry = None
        self._prune(entry.node)

    def _prune(self, node: Node) -> None:
        """Remove branches that lead to no entry."""
        while node.entry is None and not node.children and node.parent is not None:
            parent = node.parent
            del parent.children[node.edge[:TOKEN_BYTES]]
            node = parent

    def __iter__(self) -> Iterator[Entry]:
        """All entries, in the order in which they go."""
        yield from self.fresh
        yield from self.proven

    def _refresh(self, entry: Entry) -> None:
        (self.fresh if entry in self.fresh else self.proven).move_to_end(entry)


def common(edge: bytes, key: bytes, at: int) -> int:
    """Bytes that `edge` and `key[at:]` have in common, whole tokens only.

    >>> common(encode([5, 6, 7]), encode([9, 5, 6, 8]), 4) // TOKEN_BYTES
    2
    """
    if key.startswith(edge, at):
        return len(edge)
    low, high = 0, min(len(edge), len(key) - at) // TOKEN_BYTES
    while low < high:
        middle = (low + high + 1) // 2
        if key.startswith(edge[: middle * TOKEN_BYTES], at):
            low = middle
        else:
            high = middle - 1
    return low * TOKEN_BYTES
